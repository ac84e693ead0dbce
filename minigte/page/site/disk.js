// Runs where modules do not: in a page of several files that was opened from a disk.

if (location.protocol === "file:") {
  const state = document.getElementById("state");
  state.className = "failed";
  state.textContent =
    "This page was opened from a disk, where browsers do not let it read the files beside it. " +
    "Serve its folder (python -m http.server), or make one file of it: minigte page MODEL -o page.html";
}
