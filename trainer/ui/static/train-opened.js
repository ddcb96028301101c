// Moves the focus to the panel of a run that was opened, once it is drawn, the page to it, and the log to its end.
(run) => {
  const go = left => {
    const title = document.querySelector("#lab-run-title");
    if (title?.dataset.run === run && title.checkVisibility()) {
      title.focus({preventScroll: true});
      title.scrollIntoView({block: "start"});
      const log = document.querySelector(".lab-log textarea");
      if (log) log.scrollTop = log.scrollHeight;
    } else if (left) setTimeout(go, 50, left - 1);
  };
  if (run) go(40);
  return [];
}
