// Moves the focus to the heading of a new step, which is read from its beginning, by eye and by screen reader.
() => {
  setTimeout(() => {
    const title = document.querySelector(".lab-lesson-title");
    title?.focus({preventScroll: true});
    title?.scrollIntoView({block: "start"});
  }, 100);
}
