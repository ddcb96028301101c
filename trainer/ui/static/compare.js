// Compare: what a person chose is in the page's address, which the server reads.

const labInFold = [...labFilters, "reference", "machines"]; // the controls in the line of filters that opens
let labFiltered = null; // their values at the last event
let labFilteredBy = ""; // the address's filters then
let labDrawnBy = ""; // those of the address whose values the controls have: the server sends them when it draws
let labChoosing = false; // whether a person has used the filters since the address was last gone to
let labWentTo = false; // whether Back or Forward went to this address, which then is the task's too

for (const kind of ["pointerdown", "keydown"]) {
  document.addEventListener(kind, event => {
    if (!event.target.closest?.("#lab-filters")) return;
    labChoosing = true;
    labWentTo = false;
  }, true);
}

// What the address says of the controls, empty on another tab.
function labFilterQuery() {
  const params = new URLSearchParams(location.search);
  return labTabOf(params) === "compare" ? [...labFilters, ...labOptions].map(name => `${name}=${params.getAll(name)}`).join("&") : "";
}

// A control's value, among those of all, as the address has it.
function labValue(inputs, name) {
  const value = inputs[[...labFilters, ...labOptions].indexOf(name)];
  return value === true ? "1" : value;
}

// `js` of an event of one control: its value stands in the address unless it is the `usual` one.
function labOption(inputs, name, usual) {
  const value = labValue(inputs, name), settled = labDrawnBy === labFilterQuery();
  labAddress({[name]: value === usual ? null : value});
  labFilteredBy = labFilterQuery();
  if (settled) labDrawnBy = labFilteredBy;
  return inputs;
}

// `js` of the events that draw, and once they have drawn (`drawn`), when the server may have changed a filter. `inputs`:
// the sub-page, the address, the filters, and others. What a person has changed since the last event is written into the
// address, but not the task that the server chose first. The state "finished" is what an address without a state means;
// none at all is "all".
function labFilter(inputs, drawn = false) {
  const values = labInFold.map(name => labValue(inputs.slice(2), name)), here = labFilterQuery();
  // Back or Forward came while this was drawn: its own drawing follows.
  if (drawn && here && labFilteredBy && here !== labFilteredBy) return [inputs[0], location.search, ...inputs.slice(2)];
  if (here && labFilteredBy && here !== labFilteredBy) { // not by what is chosen here
    labChoosing = false;
    labWentTo = true;
  }
  const settled = drawn || labDrawnBy === here;
  if (here && labFiltered && labChoosing) {
    const changes = {};
    labInFold.forEach((name, i) => {
      const before = JSON.stringify(labFiltered[i] ?? values[i]);
      if (before !== JSON.stringify(values[i])) changes[name] = values[i];
    });
    if (changes.state) changes.state = changes.state.length ? changes.state : "all";
    if (`${changes.state}` === "finished") changes.state = null;
    if (Object.keys(changes).length) labAddress(changes, drawn);
  }
  labFiltered = values;
  labFilteredBy = labFilterQuery();
  if (settled) labDrawnBy = labFilteredBy;
  const task = labWentTo && !new URLSearchParams(location.search).has("task") ? "&task=" : "";
  // Else what was chosen a moment ago, and is not in the address yet, would be taken back.
  const chosen = settled ? "&chosen=1" : "";
  return [inputs[0], labFilteredBy ? location.search + task + chosen : "", ...inputs.slice(2)];
}
