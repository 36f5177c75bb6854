/* tls_private - what stream.c needs of tls.c and nobody else.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_IO_TLS_PRIVATE_H
#define PS_IO_TLS_PRIVATE_H

#include "io/tls.h"

struct ssl_st; /* OpenSSL's SSL */

/* A session of this context, or NULL. */
struct ssl_st *ps_tls_new_session(struct ps_tls *tls);

/* Writes `what` and OpenSSL's last reason into error, and clears OpenSSL's queue. */
void ps_tls_explain(const char *what, struct ps_tls_error *error);

#endif
