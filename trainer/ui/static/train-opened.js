// Moves the focus to the panel of a run that was opened, once it is drawn, and the page to it.
(run) => {
  const go = left => {
    const title = document.querySelector("#lab-run-title");
    if (title?.dataset.run === run && title.checkVisibility()) {
      title.focus({preventScroll: true});
      title.scrollIntoView({block: "start"});
    } else if (left) setTimeout(go, 50, left - 1);
  };
  if (run) go(40);
  return [];
}
