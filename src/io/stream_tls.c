#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "io/stream_private.h"
#include "io/tls_private.h"

enum { RECORD_BYTES = 16 * 1024 }; /* the largest TLS record */

/* Maps what OpenSSL says after a call that moved nothing. */
static int explain(struct ps_stream *stream, int result)
{
    int reason = SSL_get_error(stream->ssl, result);
    stream->wants_write = reason == SSL_ERROR_WANT_WRITE;
    switch (reason) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return PS_EBUSY;
    case SSL_ERROR_ZERO_RETURN:
        return PS_ECLOSED;
    case SSL_ERROR_SYSCALL:
        return PS_ERESET;
    case SSL_ERROR_SSL: /* gone without a close_notify: what came may be cut short */
        return ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING ? PS_ERESET : PS_ETLS;
    default:
        return PS_ETLS;
    }
}

static ssize_t read_tls(struct ps_stream *stream, char *bytes, size_t len)
{
    size_t n = 0;
    ERR_clear_error();
    int result = SSL_read_ex(stream->ssl, bytes, len, &n);
    return result == 1 ? (ssize_t)n : explain(stream, result);
}

/* OpenSSL wants a repeated write to be at least as long as the one that blocked, so the queue is
 * gathered into one record each time: it only grows at its end. */
static ssize_t write_tls(struct ps_stream *stream, const struct ps_str *parts, size_t count)
{
    char record[RECORD_BYTES];
    size_t len = 0;
    for (size_t i = 0; i < count && len < sizeof record; i++) {
        size_t room = sizeof record - len;
        size_t n = parts[i].len < room ? parts[i].len : room;
        if (n > 0) {
            memcpy(record + len, parts[i].ptr, n);
            len += n;
        }
    }
    if (len == 0) {
        return 0;
    }
    size_t written = 0;
    ERR_clear_error();
    int result = SSL_write_ex(stream->ssl, record, len, &written);
    return result == 1 ? (ssize_t)written : explain(stream, result);
}

static const struct ps_transport tls_transport = {read_tls, write_tls};

/* The name that the peer's certificate must bear: a host name or, failing that, its address. */
static int expect_name(struct ps_stream *stream, const char *server_name)
{
    char text[PS_ADDRESS_TEXT];
    struct ps_address literal;
    bool is_address = server_name == NULL ||
                      ps_address_parse_host(ps_str_from(server_name), 0, &literal) == PS_OK;
    if (!is_address) {
        char name[256]; /* OpenSSL's macro wants it writable; RFC 1035 bounds it */
        if (snprintf(name, sizeof name, "%s", server_name) >= (int)sizeof name) {
            return PS_EINVAL;
        }
        bool set = SSL_set_tlsext_host_name(stream->ssl, name) == 1 && SSL_set1_host(stream->ssl, name) == 1;
        return set ? PS_OK : PS_ENOMEM;
    }
    const char *address = server_name != NULL ? server_name : ps_address_host_text(&stream->peer, text);
    X509_VERIFY_PARAM *param = SSL_get0_param(stream->ssl);
    return X509_VERIFY_PARAM_set1_ip_asc(param, address) == 1 ? PS_OK : PS_ENOMEM;
}

int ps_stream_tls_start(struct ps_stream *stream, struct ps_tls *tls, bool is_server,
                        const char *server_name)
{
    stream->ssl = ps_tls_new_session(tls);
    if (stream->ssl == NULL || SSL_set_fd(stream->ssl, stream->fd) != 1) {
        return PS_ENOMEM;
    }
    stream->tls = ps_tls_ref(tls);
    stream->transport = &tls_transport;
    stream->handshaking = true;
    if (is_server) {
        SSL_set_accept_state(stream->ssl);
        return PS_OK;
    }
    SSL_set_connect_state(stream->ssl);
    return expect_name(stream, server_name);
}

int ps_stream_tls_handshake(struct ps_stream *stream)
{
    ERR_clear_error();
    int result = SSL_do_handshake(stream->ssl);
    stream->wants_write = false;
    return result == 1 ? PS_OK : explain(stream, result);
}

void ps_stream_tls_shutdown(struct ps_stream *stream)
{
    ERR_clear_error();
    SSL_shutdown(stream->ssl);
}

void ps_stream_tls_free(struct ps_stream *stream)
{
    if (stream->ssl != NULL) {
        ERR_clear_error();
        if (!stream->handshaking && stream->failed == PS_OK && !stream->shutdown_done) {
            SSL_shutdown(stream->ssl);
        }
        SSL_free(stream->ssl);
        ps_tls_unref(stream->tls);
        stream->ssl = NULL;
    }
}

bool ps_stream_tls_has_pending(const struct ps_stream *stream)
{
    return stream->ssl != NULL && SSL_pending(stream->ssl) > 0;
}

const char *ps_stream_tls_error(const struct ps_stream *stream)
{
    if (stream->ssl == NULL) {
        return "";
    }
    long verify = SSL_get_verify_result(stream->ssl);
    if (verify != X509_V_OK) {
        return X509_verify_cert_error_string(verify);
    }
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason == NULL ? "" : reason;
}
