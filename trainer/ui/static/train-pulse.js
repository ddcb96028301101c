// Asks for the state of the runs: every data-seconds seconds, at once when the tab comes into view, and never while
// nobody sees it. The body of a function of Gradio's with the element and its trigger.
let requested = 0, seen = false;
const look = () => {
  if (!element.isConnected) return;
  if (document.hidden || !element.checkVisibility()) {
    seen = false;
    return;
  }
  const seconds = Number(element.querySelector("[data-seconds]")?.dataset.seconds || 15);
  if (seen && Date.now() - requested < 1000 * seconds) return;
  seen = true;
  requested = Date.now();
  trigger("tick");
};
setInterval(look, 250);
document.addEventListener("visibilitychange", look);
