/* certificate - a throw-away certificate for 127.0.0.1 and localhost, made on the spot.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_TESTS_CERTIFICATE_H
#define PS_TESTS_CERTIFICATE_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"

struct certificate {
    char folder[64];
    char cert[96];
    char key[96];
};

static inline void certificate_add(X509 *x509, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    PS_CHECK(extension != NULL && X509_add_ext(x509, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

static inline X509 *certificate_sign(EVP_PKEY *key)
{
    X509 *x509 = X509_new();
    PS_CHECK(x509 != NULL && X509_set_version(x509, 2) == 1);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), -60);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_set_pubkey(x509, key);
    X509_NAME *name = X509_get_subject_name(x509);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"throw-away", -1, -1, 0);
    X509_set_issuer_name(x509, name);
    certificate_add(x509, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
    certificate_add(x509, NID_basic_constraints, "critical,CA:TRUE");
    PS_CHECK(X509_sign(x509, key, EVP_sha256()) > 0);
    return x509;
}

/* Writes both files into a fresh folder; with a password the key is encrypted. */
static inline void certificate_make(struct certificate *out, const char *password)
{
    snprintf(out->folder, sizeof out->folder, "/tmp/ps-certificate-XXXXXX");
    PS_CHECK(mkdtemp(out->folder) != NULL);
    snprintf(out->cert, sizeof out->cert, "%s/cert.pem", out->folder);
    snprintf(out->key, sizeof out->key, "%s/key.pem", out->folder);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    PS_CHECK(key != NULL);
    X509 *x509 = certificate_sign(key);
    FILE *file = fopen(out->cert, "w");
    PS_CHECK(file != NULL && PEM_write_X509(file, x509) == 1 && fclose(file) == 0);
    file = fopen(out->key, "w");
    PS_CHECK(file != NULL);
    const EVP_CIPHER *cipher = password == NULL ? NULL : EVP_aes_128_cbc();
    int len = password == NULL ? 0 : (int)strlen(password);
    PS_CHECK(PEM_write_PKCS8PrivateKey(file, key, cipher, password, len, NULL, NULL) == 1);
    PS_CHECK(fclose(file) == 0);
    X509_free(x509);
    EVP_PKEY_free(key);
}

static inline void certificate_drop(struct certificate *certificate)
{
    unlink(certificate->cert);
    unlink(certificate->key);
    rmdir(certificate->folder);
}

#endif
