// Compare: the filters that a person chose are in the page's address, which the server reads.

let labFiltered = null; // the filters' values at the last event
let labFilteredBy = ""; // the address's filters then
let labChoosing = false; // whether a person has used the filters since the address was last gone to
let labWentTo = false; // whether Back or Forward went to this address, which then is the task's too

for (const kind of ["pointerdown", "keydown"]) {
  document.addEventListener(kind, event => {
    if (!event.target.closest?.("#lab-filters")) return;
    labChoosing = true;
    labWentTo = false;
  }, true);
}

// The filters of the address and the unit of the table's rows, empty on another tab.
function labFilterQuery() {
  const params = new URLSearchParams(location.search);
  return labTabOf(params) === "compare" ? [...labFilters, "unit"].map(name => `${name}=${params.getAll(name)}`).join("&") : "";
}

// `js` of the choice of the table's unit, one of the inputs: it stands in the address.
function labUnit(inputs, index) {
  labAddress({unit: inputs[index]});
  labFilteredBy = labFilterQuery();
  return inputs;
}

// `js` of the events that draw, and once they have drawn (`drawn`), when the server may have changed a filter. `inputs`:
// the sub-page, the address, the filters, and others. What a person has changed since the last event is written into the
// address, but not the task that the server chose first. The state "finished" is what an address without a state means;
// none at all is "all".
function labFilter(inputs, drawn = false) {
  const values = inputs.slice(2, 2 + labFilters.length), here = labFilterQuery();
  // Back or Forward came while this was drawn: its own drawing follows.
  if (drawn && here && labFilteredBy && here !== labFilteredBy) return [inputs[0], location.search, ...inputs.slice(2)];
  if (here && labFilteredBy && here !== labFilteredBy) { // not by what is chosen here
    labChoosing = false;
    labWentTo = true;
  }
  if (here && labFiltered && labChoosing) {
    const changes = {};
    labFilters.forEach((name, i) => {
      const before = JSON.stringify(labFiltered[i] ?? values[i]);
      if (before !== JSON.stringify(values[i])) changes[name] = values[i];
    });
    if (changes.state) changes.state = changes.state.length ? changes.state : "all";
    if (`${changes.state}` === "finished") changes.state = null;
    if (Object.keys(changes).length) labAddress(changes, drawn);
  }
  labFiltered = values;
  labFilteredBy = labFilterQuery();
  const task = labWentTo && !new URLSearchParams(location.search).has("task") ? "&task=" : "";
  return [inputs[0], labFilteredBy ? location.search + task : "", ...inputs.slice(2)];
}
