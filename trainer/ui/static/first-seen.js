// Tells its listeners once that its tab is seen for the first time. The body of a function of Gradio's with the element
// and its trigger.
const look = () => {
  if (element.isConnected && (document.hidden || !element.closest("[role=tabpanel]")?.checkVisibility())) return;
  clearInterval(timer);
  if (element.isConnected) trigger("tick");
};
const timer = setInterval(look, 100);
