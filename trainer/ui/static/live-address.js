// The inputs of the handler that makes a link: the sentence, the runs, and the page's own address.
(text, runs) => [text, runs, location.href]
