// Tells the listeners that the page is drawn, in place of Gradio's load event (page.py says why). The body of a function
// of Gradio's with the element and its trigger.
window.labDrawn = true; // for address.js
setTimeout(() => trigger("tick"), 0);
