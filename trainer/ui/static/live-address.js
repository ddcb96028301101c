// The inputs of the handler that makes a link: the sentence, the runs, the box for the temperature, and the page's own address.
(text, runs, calibrated) => [text, runs, calibrated, location.href]
