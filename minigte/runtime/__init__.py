"""This process: the cores and memory it may use, the bars it shows, the files it leaves whole."""
