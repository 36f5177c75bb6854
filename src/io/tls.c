#include "io/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/tls_private.h"

struct ps_tls {
    _Atomic unsigned refs;
    SSL_CTX *context;
};

void ps_tls_explain(const char *what, struct ps_tls_error *error)
{
    unsigned long first = ERR_peek_error();
    unsigned long code = ERR_peek_last_error();
    const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
    if (first != 0 && ERR_SYSTEM_ERROR(first)) { /* the last one would only say "system lib" */
        reason = ps_err_text(ps_err_from_errno(ERR_GET_REASON(first)));
    }
    snprintf(error->text, sizeof error->text, "%s%s%s", what, reason == NULL ? "" : ": ",
             reason == NULL ? "" : reason);
    ERR_clear_error();
}

static int new_context(struct ps_tls **out, const SSL_METHOD *method)
{
    struct ps_tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL) {
        return PS_ENOMEM;
    }
    tls->context = SSL_CTX_new(method);
    if (tls->context == NULL) {
        free(tls);
        return PS_ENOMEM;
    }
    atomic_init(&tls->refs, 1);
    SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION);
    SSL_CTX_set_mode(tls->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                       SSL_MODE_RELEASE_BUFFERS);
    *out = tls;
    return PS_OK;
}

/* RFC 7301: we speak http/1.1 and nothing else; a client that offers only others is served anyway. */
static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *in, unsigned in_len, void *arg)
{
    static const unsigned char ours[] = "\x08http/1.1";
    (void)ssl;
    (void)arg;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

int ps_tls_no_password(char *buf, int size, int rwflag, void *ctx)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)ctx;
    return 0;
}

/* Returns false with the reason explained. */
static bool load_pair(SSL_CTX *context, const char *certificate_file, const char *key_file,
                      struct ps_tls_error *error)
{
    char what[160];
    SSL_CTX_set_default_passwd_cb(context, ps_tls_no_password);
    if (SSL_CTX_use_certificate_chain_file(context, certificate_file) != 1) {
        snprintf(what, sizeof what, "can't load the certificate %s", certificate_file);
    } else if (SSL_CTX_use_PrivateKey_file(context, key_file, SSL_FILETYPE_PEM) != 1) {
        snprintf(what, sizeof what, "can't load the private key %s", key_file);
    } else if (SSL_CTX_check_private_key(context) != 1) {
        snprintf(what, sizeof what, "the key does not fit the certificate %s", certificate_file);
    } else {
        return true;
    }
    ps_tls_explain(what, error);
    return false;
}

int ps_tls_new_server(struct ps_tls **out, const char *certificate_file, const char *key_file,
                      struct ps_tls_error *error)
{
    struct ps_tls *tls = NULL;
    int err = new_context(&tls, TLS_server_method());
    if (err != PS_OK) {
        return err;
    }
    if (!load_pair(tls->context, certificate_file, key_file, error)) {
        ps_tls_unref(tls);
        return PS_ETLS;
    }
    SSL_CTX_set_alpn_select_cb(tls->context, select_alpn, NULL);
    SSL_CTX_set_options(tls->context, SSL_OP_NO_RENEGOTIATION);
    *out = tls;
    return PS_OK;
}

int ps_tls_new_client(struct ps_tls **out, const char *ca_file, bool verify, struct ps_tls_error *error)
{
    static const unsigned char alpn[] = "\x08http/1.1";
    struct ps_tls *tls = NULL;
    int err = new_context(&tls, TLS_client_method());
    if (err != PS_OK) {
        return err;
    }
    int loaded = ca_file != NULL ? SSL_CTX_load_verify_locations(tls->context, ca_file, NULL)
                                 : SSL_CTX_set_default_verify_paths(tls->context);
    if (loaded != 1) {
        char what[160];
        snprintf(what, sizeof what, "can't load the authorities%s%s", ca_file == NULL ? "" : " ",
                 ca_file == NULL ? "" : ca_file);
        ps_tls_explain(what, error);
        ps_tls_unref(tls);
        return PS_ETLS;
    }
    SSL_CTX_set_verify(tls->context, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_alpn_protos(tls->context, alpn, sizeof alpn - 1);
    *out = tls;
    return PS_OK;
}

int ps_tls_use_certificate(struct ps_tls *tls, const char *certificate_file, const char *key_file,
                           struct ps_tls_error *error)
{
    return load_pair(tls->context, certificate_file, key_file, error) ? PS_OK : PS_ETLS;
}

struct ps_tls *ps_tls_ref(struct ps_tls *tls)
{
    if (tls != NULL) {
        atomic_fetch_add(&tls->refs, 1);
    }
    return tls;
}

void ps_tls_unref(struct ps_tls *tls)
{
    if (tls != NULL && atomic_fetch_sub(&tls->refs, 1) == 1) {
        SSL_CTX_free(tls->context);
        free(tls);
    }
}

struct ssl_st *ps_tls_new_session(struct ps_tls *tls)
{
    return SSL_new(tls->context);
}
