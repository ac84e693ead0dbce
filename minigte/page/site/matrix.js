// One linear layer as the kernels hold it: W (outputs, inputs), packed in panels (minigte/engine/weights.py).

export class Matrix {
  #panels; // (panels, steps, panel, group)
  #scale; // int8: w = q * scale; of no items in float32
  #outliers; // int8: the inputs that are multiplied in float32, -1 where there are fewer
  #outlierWeights; // (panels, outliers, panel)
  #shape;

  constructor(panels, bias, scale, outliers, outlierWeights) {
    this.#panels = panels;
    this.#shape = panels.shape;
    this.bias = bias;
    this.#scale = scale;
    this.#outliers = outliers;
    this.#outlierWeights = outlierWeights;
    const [count, steps, panel, group] = this.#shape;
    this.outputs = count * panel;
    this.inputs = steps * group;
  }

  /** A row as the product reads it: for int8 its numbers are rounded in 127 steps of the largest. */
  read(row) {
    const x = new Float32Array(this.inputs);
    x.set(row);
    if (!this.#scale.length) return x;
    const apart = (i) => this.#outliers.includes(i);
    const largest = x.reduce((most, value, i) => (apart(i) ? most : Math.max(most, Math.abs(value))), 0);
    return x.map((value, i) => (apart(i) || !largest ? value : (Math.round((value * 127) / largest) * largest) / 127));
  }

  /** W x + b, of a row as it is read. */
  times(x) {
    const [count, steps, panel, group] = this.#shape;
    const y = new Float32Array(this.outputs);
    const sums = new Float64Array(panel);
    let at = 0;
    for (let p = 0; p < count; p++) {
      sums.fill(0);
      for (let s = 0; s < steps; s++) {
        for (let o = 0; o < panel; o++) {
          for (let g = 0; g < group; g++) sums[o] += this.#panels[at++] * x[s * group + g];
        }
      }
      for (let o = 0; o < panel; o++) {
        const output = p * panel + o;
        let sum = this.#scale.length ? sums[o] * this.#scale[output] : sums[o];
        this.#outliers.forEach((input, k) => {
          if (input >= 0) sum += this.#outlierWeights[(p * this.#outliers.length + k) * panel + o] * x[input];
        });
        y[output] = sum + this.bias[output];
      }
    }
    return y;
  }

  /** W at one output and one input. */
  weight(output, input) {
    const [, steps, panel, group] = this.#shape;
    const [p, o] = [Math.floor(output / panel), output % panel];
    const k = this.#outliers.indexOf(input);
    if (k >= 0) return this.#outlierWeights[(p * this.#outliers.length + k) * panel + o];
    const [s, g] = [Math.floor(input / group), input % group];
    const weight = this.#panels[((p * steps + s) * panel + o) * group + g];
    return this.#scale.length ? weight * this.#scale[output] : weight;
  }

  /** What one output is made with: its weight of every input. */
  row(output) {
    return Float32Array.from({ length: this.inputs }, (_, input) => this.weight(output, input));
  }

  /** What one input goes to: its weight in every output. */
  column(input) {
    return Float32Array.from({ length: this.outputs }, (_, output) => this.weight(output, input));
  }

  /** How long each of these columns is. */
  lengths() {
    const squares = new Float64Array(this.inputs);
    for (let output = 0; output < this.outputs; output++) {
      this.row(output).forEach((weight, input) => {
        squares[input] += weight * weight;
      });
    }
    return Float32Array.from(squares, Math.sqrt);
  }
}
