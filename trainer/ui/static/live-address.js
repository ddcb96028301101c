// The inputs of the handler that makes a link: the sentence, the runs, the box for the temperature, the task where there
// are several, and the page's own address.
(text, runs, calibrated, task) => [text, runs, calibrated, labTask(task), location.href]
