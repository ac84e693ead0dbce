// Small help for the page's scripts.

import { fixed } from "./views.js";

export const byId = (id) => document.getElementById(id);
export const milliseconds = (since) => `${Math.round(performance.now() - since)} ms`;
export const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
// As a factor, or behind a sign.
export const inBrackets = (number, digits) => (number < 0 ? `(${fixed(number, digits)})` : fixed(number, digits));
// What was typed or read may hold half a character, which is no text.
export const clean = (text) => new TextDecoder().decode(new TextEncoder().encode(text));

// A field for the place of one of so many numbers, whatever is typed there.
export function onPlace(input, count, choose) {
  input.max = count - 1;
  input.addEventListener("input", () => choose(Math.max(0, Math.min(count - 1, Math.round(Number(input.value)) || 0))));
}

// Let the browser answer what the reader does, between two parts of long work.
export const breathe = () => new Promise((resolve) => setTimeout(resolve));

// While the page is printed it has the colours of paper; what is drawn then is drawn at once.
export const isPrinted = () => document.documentElement.classList.contains("paper");

// Run the latest call only: while one is computed, those that come in are forgotten but for the last.
export function latest(work) {
  let running = false;
  let again = false;
  return async function run() {
    if (running) {
      again = true;
      return;
    }
    running = true;
    try {
      await work();
    } catch (error) {
      fail(error);
    }
    running = false;
    if (again) {
      again = false;
      run();
    }
  };
}

export function fail(error) {
  byId("state").className = "failed";
  byId("state").textContent = error.message;
  byId("progress").hidden = true;
}
