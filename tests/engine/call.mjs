/* Run one forward pass of the WebAssembly kernels: node call.mjs MODULE FUNCTION INPUT OUTPUT.

   INPUT and OUTPUT are what call.c reads and writes. */

/** The bytes of the result that a function of a module leaves for the bytes of an INPUT. */
function call(module, name, input) {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  const word = (i) => Number(view.getBigInt64(8 * i, true));
  const [words, addresses, size, result, resultSize] = [0, 1, 2, 3, 4].map(word);
  const { memory, __heap_base: heap, [name]: forward } = new WebAssembly.Instance(new WebAssembly.Module(module)).exports;
  const base = Math.ceil(heap.value / 64) * 64;
  const table = base + Math.ceil(size / 64) * 64;
  memory.grow(Math.max(0, Math.ceil((table + 8 * words - memory.buffer.byteLength) / 65536)));
  new Uint8Array(memory.buffer, base).set(input.subarray(8 * (5 + addresses + words)));
  const entries = new BigInt64Array(memory.buffer, table, words);
  for (let i = 0; i < words; i++) entries[i] = view.getBigInt64(8 * (5 + addresses + i), true);
  for (let i = 0; i < addresses; i++) entries[word(5 + i)] += BigInt(base);
  const status = forward(table, 1);
  if (status) throw new Error(`the kernel returned ${status}`);
  return new Uint8Array(memory.buffer, base + result, resultSize);
}

if (globalThis.process?.argv.length === 6) {
  const fs = await import("node:fs");
  const [path, name, input, output] = process.argv.slice(2);
  fs.writeFileSync(output, call(fs.readFileSync(path), name, fs.readFileSync(input)));
}
