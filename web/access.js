// access - signing in: the token goes to the program once, and comes back as a cookie that no script can read.
//
// SPDX-License-Identifier: Apache-2.0
import { byId, setText } from './dom.js';

const REASONS = { 401: 'This token is not known.', 403: 'This token may not look: its role is "ingest".', 404: 'No token is configured here.' };

async function exchange(token) {
  let headers;
  try {
    headers = new Headers({ authorization: `Bearer ${token}`, 'content-type': 'application/json' });
  } catch {
    return REASONS[401]; // characters that no header can have
  }
  try {
    const { ok, status } = await fetch('/', { method: 'POST', headers, body: '{}' });
    return ok ? null : REASONS[status] ?? `It answered ${status}.`;
  } catch {
    return 'Penstock does not answer.';
  }
}

/// onDone is called when there is a cookie.
export function setUpAccess(onDone) {
  const dialog = byId('signin');
  dialog.addEventListener('cancel', (event) => event.preventDefault());
  byId('signin-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    const reason = await exchange(byId('token').value.trim());
    setText(byId('signin-error'), reason ?? '');
    if (reason === null) {
      byId('token').value = '';
      dialog.close();
      onDone();
    } else {
      byId('token').select();
    }
  });
  return () => {
    if (!dialog.open) {
      dialog.showModal();
      byId('token').focus();
    }
  };
}
