// tags: slow
// timeout: 1000
//
// page_memory - ten minutes of the live page: it gets no larger.
//
// SPDX-License-Identifier: Apache-2.0
import test from 'node:test';

import { closeBrowser, noBrowser, staysSmall } from './lib/browser.mjs';

test.after(closeBrowser);

test('ten minutes cost no memory', { skip: noBrowser }, (t) => staysSmall(t, { minutes: 10 }));
