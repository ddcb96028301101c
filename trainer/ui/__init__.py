"""The app's pages: one file per tab, charts as pure functions. The only place that imports Gradio and Altair."""
