// The lesson's place in the page's address (?tab=lesson&step=3), and its presentation mode (&present=1): without the
// page's header, in larger type. Runs once, when the page is drawn: from the step that the browser stored to the one to
// open, each counted from 0. The server checks it.
stored => {
  const parameters = () => new URLSearchParams(location.search);

  const wide = matchMedia("(min-width: 900px)");
  const show = present => {
    document.documentElement.classList.toggle("lab-present", present);
    document.documentElement.classList.toggle("lab-present-wide", present && wide.matches);
    document.getElementById("lab-present")?.setAttribute("aria-pressed", present);
    dispatchEvent(new Event("resize")); // charts take the width that they have now
  };

  // After a step was drawn and a person had moved to it: writes it into the address and focuses its heading, which is
  // read from its beginning, by eye and by screen reader. `index` counts from 0. The address that a page opens with
  // stays: the server still reads it.
  window.labLessonStep = (index, moved) => {
    show(document.documentElement.classList.contains("lab-present")); // the button may be new
    if (!moved) {
      arrive(); // the address may have come after the step was read
      return;
    }
    const step = String(Number(index || 0) + 1);
    if (parameters().get("tab") === "lesson" && parameters().get("step") !== step) window.labAddress?.({step});
    setTimeout(() => {
      const title = document.querySelector(".lab-lesson-title");
      title?.focus({preventScroll: true});
      scrollTo({top: 0});
      if (!document.documentElement.classList.contains("lab-present")) {
        document.querySelector(".lab-lesson")?.scrollIntoView({block: "start"});
      }
    }, 100);
  };

  // After a press brought results: goes to them where they begin outside the window.
  window.labLessonResults = () => setTimeout(() => {
    const shown = [...document.querySelectorAll(".lab-lesson-results")].find(one => one.offsetParent);
    const top = shown?.getBoundingClientRect().top;
    if (top < 0 || top > innerHeight - 200) shown.scrollIntoView({block: "start"});
  }, 100);

  window.labPresent = (present = !document.documentElement.classList.contains("lab-present")) => {
    show(present);
    window.labAddress?.({present: present ? "1" : null});
  };
  const follow = () => {
    const open = parameters().get("tab") ?? (parameters().get("present") === "1" ? "lesson" : "");
    show(parameters().get("present") === "1" && open === "lesson");
    const step = Number(parameters().get("step"));
    const button = document.querySelector(`.lab-lesson-steps [data-pick="${step - 1}"]`);
    if (open === "lesson" && button && !button.hasAttribute("aria-current")) button.click();
  };
  // The address that the page opens with, until the person presses a step (page.js): that press is not undone.
  const arrive = () => { if (!window.labLessonPressed) follow(); };
  window.labLessonArrive = arrive;
  addEventListener("labaddress", follow);
  wide.addEventListener("change", () => show(document.documentElement.classList.contains("lab-present")));
  addEventListener("keydown", event => {
    if (event.key === "Escape" && document.documentElement.classList.contains("lab-present")) labPresent(false);
  });
  const open = ["lesson", parameters().get("present") === "1" ? null : "lesson"].includes(parameters().get("tab"));
  show(open && parameters().get("present") === "1");
  return open && !window.labLessonPressed && /^\d+$/.test(parameters().get("step") ?? "") ? Number(parameters().get("step")) - 1 : stored;
}
