// Takes the run from the page's address, and gives the focus back to its name in the list.
(run) => {
  window.labAddress?.({run: null});
  const name = document.querySelector(`[data-pick="${CSS.escape(run)}"]`);
  if (name?.checkVisibility()) setTimeout(() => name.focus());
  return [];
}
