// The run that the page's address names is open: when the page is loaded, and after Back and Forward.
const open = () => {
  const params = new URLSearchParams(location.search), runs = params.getAll("run");
  if (!element.isConnected || (params.get("tab") ?? "train") !== "train") return;
  const shown = document.querySelector("#lab-run-title")?.dataset.run ?? "";
  const named = runs.length === 1 ? runs[0] : "";
  if (named && !params.has("tab")) { // ?run=ID alone
    window.labAddress?.({tab: "train"}, true);
    window.labOpen?.("train");
  }
  if (named !== shown) trigger("select", {value: named});
};
addEventListener("popstate", open);
setTimeout(open);
