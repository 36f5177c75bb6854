/* The files of TLS: certificate and key towards clients, authorities towards upstreams. */
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "config/yaml.h"
#include "daemon/doctor_check.h"
#include "io/tls.h"

#define FILE_LIMIT ((size_t)4 * 1024 * 1024)
#define DAY        ((int64_t)24 * 3600)

enum { SOON = 21 /* days */, MOST_CERTIFICATES = 1000 };

/* --- dates --------------------------------------------------------------------------------------
 */

void ps_doctor_judge_dates(struct ps_doctor_report *report, const char *subject, int64_t not_before,
                           int64_t not_after, int64_t now)
{
    if (now < not_before) {
        ps_doctor_say(report, PS_DOCTOR_ERROR, subject, "is not valid yet: it begins in %jd days",
                      (intmax_t)((not_before - now) / DAY + 1));
        ps_doctor_fix(report, "set this machine's clock, or get a certificate that is valid today");
    } else if (now >= not_after) {
        ps_doctor_say(report, PS_DOCTOR_ERROR, subject, "has expired %jd days ago",
                      (intmax_t)((now - not_after) / DAY));
        ps_doctor_fix(report, "renew it and send SIGHUP; running connections go on");
    } else if (not_after - now < SOON * DAY) {
        ps_doctor_say(report, PS_DOCTOR_WARNING, subject, "expires in %jd days",
                      (intmax_t)((not_after - now) / DAY));
        ps_doctor_fix(report, "renew it and send SIGHUP; running connections go on");
    } else {
        ps_doctor_say(report, PS_DOCTOR_OK, subject, "is valid for %jd days more",
                      (intmax_t)((not_after - now) / DAY));
    }
}

static bool to_seconds(const ASN1_TIME *time, int64_t *out)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(time, &tm) != 1) {
        return false;
    }
    *out = timegm(&tm);
    return true;
}

static bool read_dates(const X509 *certificate, int64_t *from, int64_t *until)
{
    return to_seconds(X509_get0_notBefore(certificate), from) &&
           to_seconds(X509_get0_notAfter(certificate), until);
}

static int64_t now_seconds(void)
{
    return ps_clock_wall(&ps_clock_real) / PS_SECOND;
}

/* --- reading ------------------------------------------------------------------------------------
 */

/* A file's content; false when that was said as a finding. Pipes and devices are not read. */
static bool read_file(struct ps_doctor_report *report, const char *path, const char *field,
                      struct ps_buf *out)
{
    int err = ps_config_read_file(path, FILE_LIMIT, true, out, NULL);
    if (err == PS_OK) {
        return true;
    }
    ps_doctor_say(report, PS_DOCTOR_ERROR, path, "can't be read: %s",
                  err == PS_EINVAL   ? "not a regular file"
                  : err == PS_ELIMIT ? "too large"
                                     : ps_err_text(err));
    ps_doctor_fix(report,
                  err == PS_EDENIED ? "let the user that runs Penstock read it (%s)"
                                    : "correct the path in %s",
                  field);
    return false;
}

/* All certificates of a PEM text; NULL when out of memory. */
static STACK_OF(X509) * read_chain(struct ps_str text)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    BIO *bio = BIO_new_mem_buf(text.ptr, (int)text.len);
    while (chain != NULL && bio != NULL && sk_X509_num(chain) < MOST_CERTIFICATES) {
        X509 *certificate = PEM_read_bio_X509(bio, NULL, ps_tls_no_password, NULL);
        if (certificate == NULL) {
            break;
        }
        if (sk_X509_push(chain, certificate) == 0) {
            X509_free(certificate);
            break;
        }
    }
    BIO_free(bio);
    ERR_clear_error();
    return chain;
}

static EVP_PKEY *read_key(struct ps_str text)
{
    BIO *bio = BIO_new_mem_buf(text.ptr, (int)text.len);
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, ps_tls_no_password, NULL);
    BIO_free(bio);
    ERR_clear_error();
    return key;
}

/* --- towards clients ----------------------------------------------------------------------------
 */

/* Which certificate belongs to the key, or -1. */
static int place_of_key(STACK_OF(X509) * chain, const EVP_PKEY *key)
{
    int place = -1;
    for (int i = 0; i < sk_X509_num(chain) && place < 0; i++) {
        place = X509_check_private_key(sk_X509_value(chain, i), key) == 1 ? i : -1;
    }
    ERR_clear_error();
    return place;
}

/* Each certificate must be vouched for by the next (RFC 8446 4.4.2 lets servers be sloppy; clients
 * are not all). */
static bool is_in_order(STACK_OF(X509) * chain)
{
    for (int i = 0; i + 1 < sk_X509_num(chain); i++) {
        if (X509_check_issued(sk_X509_value(chain, i + 1), sk_X509_value(chain, i)) != X509_V_OK) {
            return false;
        }
    }
    return true;
}

static void judge_chain(struct ps_doctor_report *report, const struct ps_tls_opts *tls,
                        STACK_OF(X509) * chain, const EVP_PKEY *key)
{
    int place = key == NULL ? 0 : place_of_key(chain, key);
    int64_t from;
    int64_t until;
    if (place < 0) {
        ps_doctor_say(report, PS_DOCTOR_ERROR, tls->key_file,
                      "does not belong to the certificate %s", tls->certificate);
        ps_doctor_fix(report, "give the key that the certificate was made for in tls.key_file (or "
                              "its certificate in tls.certificate)");
    } else if (place > 0 || !is_in_order(chain)) {
        ps_doctor_say(report, PS_DOCTOR_ERROR, tls->certificate,
                      "its certificates are in the wrong order");
        ps_doctor_fix(report,
                      "cat server.pem intermediate.pem > %s: the server's own first, each followed "
                      "by its issuer",
                      tls->certificate);
    } else if (key != NULL) {
        ps_doctor_say(report, PS_DOCTOR_OK, tls->key_file, "belongs to the certificate");
    }
    for (int i = 0; i < sk_X509_num(chain); i++) {
        if (read_dates(sk_X509_value(chain, i), &from, &until)) {
            ps_doctor_judge_dates(report, tls->certificate, from, until, now_seconds());
        }
    }
}

static void judge_key_mode(struct ps_doctor_report *report, const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & (S_IROTH | S_IWOTH)) != 0) {
        ps_doctor_say(report, PS_DOCTOR_WARNING, path, "every user of this machine may %s this key",
                      (st.st_mode & S_IROTH) != 0 ? "read" : "replace");
        ps_doctor_fix(report, "chmod o-rwx %s", path);
    }
}

static EVP_PKEY *look_at_key(struct ps_doctor_report *report, const char *path)
{
    struct ps_buf text = ps_buf_make(0);
    if (!read_file(report, path, "tls.key_file", &text)) {
        return NULL;
    }
    EVP_PKEY *key = read_key(ps_buf_str(&text));
    if (key == NULL) {
        ps_doctor_say(report, PS_DOCTOR_ERROR, path,
                      "holds no private key in PEM, or one behind a password");
        ps_doctor_fix(report,
                      "openssl pkey -in %s -out %s.plain, and name that file in tls.key_file", path,
                      path);
    }
    judge_key_mode(report, path);
    if (text.data != NULL) {
        explicit_bzero(text.data, text.cap);
    }
    ps_buf_fini(&text);
    return key;
}

static void look_at_own(struct ps_doctor_report *report, const struct ps_tls_opts *tls)
{
    struct ps_buf text = ps_buf_make(0);
    EVP_PKEY *key = look_at_key(report, tls->key_file);
    if (read_file(report, tls->certificate, "tls.certificate", &text)) {
        STACK_OF(X509) *chain = read_chain(ps_buf_str(&text));
        if (chain == NULL || sk_X509_num(chain) == 0) {
            ps_doctor_say(report, PS_DOCTOR_ERROR, tls->certificate, "holds no certificate in PEM");
            ps_doctor_fix(
                report,
                "name the file that begins with -----BEGIN CERTIFICATE----- in tls.certificate");
        } else {
            judge_chain(report, tls, chain, key);
        }
        sk_X509_pop_free(chain, X509_free);
        ps_buf_fini(&text);
    }
    EVP_PKEY_free(key);
}

/* --- towards upstreams --------------------------------------------------------------------------
 */

static bool is_any_valid(STACK_OF(X509) * chain, int64_t now)
{
    int64_t from;
    int64_t until;
    for (int i = 0; i < sk_X509_num(chain); i++) {
        if (read_dates(sk_X509_value(chain, i), &from, &until) && now >= from && now < until) {
            return true;
        }
    }
    return false;
}

static void look_at_authorities(struct ps_doctor_report *report, const char *path,
                                const char *field)
{
    struct ps_buf text = ps_buf_make(0);
    if (!read_file(report, path, field, &text)) {
        return;
    }
    STACK_OF(X509) *chain = read_chain(ps_buf_str(&text));
    if (chain == NULL || sk_X509_num(chain) == 0) {
        ps_doctor_say(report, PS_DOCTOR_ERROR, path, "holds no certificate in PEM");
        ps_doctor_fix(report, "name the PEM file of the authority in %s", field);
    } else if (!is_any_valid(chain, now_seconds())) {
        ps_doctor_say(report, PS_DOCTOR_ERROR, path, "holds no authority that is valid today");
        ps_doctor_fix(report, "get the authority's present certificate into %s", field);
    } else {
        ps_doctor_say(report, PS_DOCTOR_OK, path, "holds %d authorities", sk_X509_num(chain));
    }
    sk_X509_pop_free(chain, X509_free);
    ps_buf_fini(&text);
}

static void look_at_upstream(struct ps_doctor_report *report,
                             const struct ps_upstream_opts *upstream, size_t index)
{
    char field[64];
    snprintf(field, sizeof field, "upstreams[%zu].tls.ca_file", index);
    if (upstream->tls.ca_file != NULL) {
        look_at_authorities(report, upstream->tls.ca_file, field);
    }
    if (!upstream->tls.verify) {
        snprintf(field, sizeof field, "upstreams[%zu].tls.verify", index);
        ps_doctor_say(report, PS_DOCTOR_WARNING, field,
                      "no: whoever stands between may read along and answer");
        ps_doctor_fix(report,
                      "tls: {ca_file: the PEM file of the authority}, and take verify: no out");
    }
}

void ps_doctor_certificates(struct ps_doctor *doctor)
{
    if (doctor->config == NULL) {
        return;
    }
    const struct ps_tls_opts *tls = &doctor->config->tls;
    const struct ps_upstream_opts *upstreams = doctor->config->upstreams.items;
    size_t before = doctor->report.count;
    if (tls->certificate != NULL && tls->key_file != NULL) {
        look_at_own(&doctor->report, tls);
    }
    for (size_t i = 0; i < doctor->config->upstreams.count; i++) {
        look_at_upstream(&doctor->report, &upstreams[i], i);
    }
    if (doctor->report.count == before) {
        ps_doctor_say(&doctor->report, PS_DOCTOR_OK, "", "no files of TLS are named");
    }
}
