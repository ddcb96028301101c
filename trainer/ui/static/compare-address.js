// After Back or Forward to other filters: Compare is drawn with them.
addEventListener("labaddress", () => {
  if (element.isConnected && labFilterQuery() && labFilterQuery() !== labFilteredBy) trigger("select", {value: ""});
});
