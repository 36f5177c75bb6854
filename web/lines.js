// lines - which panels stand in a line, so that all lines are filled.
//
// SPDX-License-Identifier: Apache-2.0

/// Indexes by line: no line over `most`, all about equally full.
export function lines(weights, most) {
  const total = weights.reduce((a, b) => a + b, 0);
  const wanted = Math.ceil(total / most);
  const all = [];
  let sum = Infinity;
  let left = total;
  weights.forEach((weight, i) => {
    const limit = Math.min(most, Math.ceil(left / Math.max(wanted - all.length + 1, 1)));
    if (sum + weight > most || sum >= limit) {
      all.push([]);
      left -= sum === Infinity ? 0 : sum;
      sum = 0;
    }
    all.at(-1).push(i);
    sum += weight;
  });
  return all;
}
