// A heading's press opens or closes its content (page.css). Whether it is open stands on the fold, not on the heading's
// button, which may be drawn again. The body of a function of Gradio's with the element.
const fold = element.closest(".lab-fold");
const show = () => {
  const button = element.querySelector("button[aria-expanded]"), open = `${"open" in fold.dataset}`;
  if (button && button.getAttribute("aria-expanded") !== open) button.setAttribute("aria-expanded", open);
};
element.addEventListener("click", event => {
  if (!event.target.closest("button[aria-expanded]")) return;
  pressed = true;
  fold.toggleAttribute("data-open");
  show();
  dispatchEvent(new Event("resize")); // a chart that was drawn while folded has no width
});
// Open on a large page, closed on a phone's and a projector's, until a person presses.
const small = matchMedia("(max-width: 600px), (max-height: 760px)");
let pressed = false;
const fit = () => {
  if (pressed || !fold.classList.contains("lab-fold-wide")) return;
  fold.toggleAttribute("data-open", !small.matches);
  show();
};
small.addEventListener("change", fit);
fit();
new MutationObserver(show).observe(element, {childList: true, subtree: true});
