// after - what is to be undone when a test ends: last made, first undone, and all of it.
//
// node:test stops at the first hook that fails; a program that left badly would then leave the
// scripted servers open, and the file would wait for its time limit.
//
// SPDX-License-Identifier: Apache-2.0
const undo = new WeakMap();

/// Calls fn when the test t ends, before everything that was registered earlier.
export function after(t, fn) {
  if (!undo.has(t)) {
    undo.set(t, []);
    t.after(() => undoAll(undo.get(t)));
  }
  undo.get(t).push(fn);
}

async function undoAll(list) {
  let first;
  while (list.length > 0) {
    try {
      await list.pop()();
    } catch (error) {
      first ??= error;
    }
  }
  if (first) {
    throw first;
  }
}
