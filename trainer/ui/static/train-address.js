// The run that the page's address names is open: when the page is loaded, and after Back and Forward.
const open = () => {
  const run = new URLSearchParams(location.search).getAll("run");
  const shown = document.querySelector("#lab-run-title")?.dataset.run ?? "";
  const wanted = run.length === 1 ? run[0] : "";
  if (element.isConnected && wanted !== shown) trigger("select", {value: wanted});
};
addEventListener("popstate", open);
setTimeout(open);
