/* tls - OpenSSL contexts for both sides of a stream.
 *
 * Verification of the peer is on unless the configuration turned it off by name. Contexts are
 * counted, because connections outlive a certificate reload. OpenSSL writes with write(): a program that
 * speaks TLS must ignore SIGPIPE.
 *
 * Thread: a context may be shared by threads; creation and errors belong to the caller's thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_IO_TLS_H
#define PS_IO_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct ps_tls;

/* Why a context could not be made or a handshake failed, in words; never holds key material. */
struct ps_tls_error {
    char text[256];
};

/* A context that serves with the PEM chain and key in these files. TLS 1.2 and later, ALPN
 * "http/1.1". PS_OK, PS_ETLS (error says why) or PS_ENOMEM. */
PS_MUST_CHECK int ps_tls_new_server(struct ps_tls **out, const char *certificate_file,
                                    const char *key_file, struct ps_tls_error *error);

/* A context for upstreams: verifies against the system's authorities, or `ca_file` when not NULL;
 * verify = false accepts any certificate. PS_OK, PS_ETLS or PS_ENOMEM. */
PS_MUST_CHECK int ps_tls_new_client(struct ps_tls **out, const char *ca_file, bool verify,
                                    struct ps_tls_error *error);

/* Lets a client show the PEM chain and key in these files to servers that ask for one. Before the
 * context is used. PS_OK or PS_ETLS (error says why). */
PS_MUST_CHECK int ps_tls_use_certificate(struct ps_tls *tls, const char *certificate_file,
                                         const char *key_file, struct ps_tls_error *error);

/* A pem_password_cb of OpenSSL, which would ask the terminal: a key under a password is refused. */
int ps_tls_no_password(char *buf, int size, int rwflag, void *ctx);

struct ps_tls *ps_tls_ref(struct ps_tls *tls);
void ps_tls_unref(struct ps_tls *tls); /* NULL is fine */

#endif
