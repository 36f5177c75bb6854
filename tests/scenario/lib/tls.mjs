// tls - a certificate authority and certificates of a test's own, made by openssl.
//
// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

import { tempDir } from './penstock.mjs';

function openssl(dir, ...args) {
  execFileSync('openssl', args, { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'], timeout: 20000 });
}

function newKey(dir, file) {
  openssl(dir, 'genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', file);
}

function altNames(names) {
  return names.map((name) => (/^[\d.]+$|:/.test(name) ? `IP:${name}` : `DNS:${name}`)).join(',');
}

/// Makes an authority: {dir, ca, issue}. ca is the path of its certificate.
/// issue(name, {names, days}) makes a certificate: {cert, key} as paths. A negative `days` is expired.
export function makeAuthority(t) {
  const dir = tempDir(t);
  newKey(dir, 'ca.key');
  openssl(dir, 'req', '-x509', '-new', '-key', 'ca.key', '-subj', '/CN=penstock test authority', '-days', '2',
    '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign',
    '-out', 'ca.pem');
  const issue = (name = 'server', { names = ['localhost', '127.0.0.1', '::1'], days = 2 } = {}) => {
    newKey(dir, `${name}.key`);
    openssl(dir, 'req', '-new', '-key', `${name}.key`, '-subj', `/CN=${names[0]}`, '-out', `${name}.csr`);
    fs.writeFileSync(path.join(dir, `${name}.ext`),
      `subjectAltName=${altNames(names)}\nbasicConstraints=CA:FALSE\n`);
    openssl(dir, 'x509', '-req', '-in', `${name}.csr`, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial',
      '-days', String(days), '-extfile', `${name}.ext`, '-out', `${name}.pem`);
    return { cert: path.join(dir, `${name}.pem`), key: path.join(dir, `${name}.key`) };
  };
  return { dir, ca: path.join(dir, 'ca.pem'), issue };
}
