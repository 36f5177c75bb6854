#include "gateway/request_memo.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

struct ps_request_memo {
    size_t slots;
    struct ps_request_known *known[];
};

int ps_request_memo_new(struct ps_request_memo **out, size_t slots)
{
    struct ps_request_memo *memo = calloc(1, sizeof *memo + slots * sizeof(struct ps_request_known *));
    if (memo == NULL) {
        return PS_ENOMEM;
    }
    memo->slots = slots;
    *out = memo;
    return PS_OK;
}

void ps_request_memo_free(struct ps_request_memo *memo)
{
    for (size_t i = 0; memo != NULL && i < memo->slots; i++) {
        ps_request_known_unref(memo->known[i]);
    }
    free(memo);
}

bool ps_request_memo_digest(const struct ps_chunks *body, uint8_t digest[32])
{
    struct ps_str views[8];
    size_t count = ps_chunks_peek(body, 0, views, PS_ARRAY_LEN(views));
    if (count == 1) {
        return SHA256((const uint8_t *)views[0].ptr, views[0].len, digest) != NULL;
    }
    EVP_MD_CTX *sha = EVP_MD_CTX_new();
    bool whole = sha != NULL && EVP_DigestInit_ex(sha, EVP_sha256(), NULL) == 1;
    for (size_t offset = 0; whole && offset < body->len;) {
        count = ps_chunks_peek(body, offset, views, PS_ARRAY_LEN(views));
        for (size_t i = 0; i < count; i++) {
            whole = whole && EVP_DigestUpdate(sha, views[i].ptr, views[i].len) == 1;
            offset += views[i].len;
        }
    }
    whole = whole && EVP_DigestFinal_ex(sha, digest, NULL) == 1;
    EVP_MD_CTX_free(sha);
    return whole;
}

static struct ps_request_known **slot_of(struct ps_request_memo *memo, const uint8_t digest[32])
{
    uint64_t number;
    memcpy(&number, digest, sizeof number);
    return &memo->known[number & (memo->slots - 1)];
}

struct ps_request_known *ps_request_memo_find(struct ps_request_memo *memo,
                                              const struct ps_operation *operation,
                                              const uint8_t digest[32])
{
    struct ps_request_known *known = *slot_of(memo, digest);
    if (known == NULL || known->operation != operation ||
        memcmp(known->digest, digest, sizeof known->digest) != 0) {
        return NULL;
    }
    known->refs++;
    return known;
}

void ps_request_memo_put(struct ps_request_memo *memo, const struct ps_operation *operation,
                         const uint8_t digest[32], const struct ps_request *request)
{
    struct ps_request_known **slot = slot_of(memo, digest);
    struct ps_request_known *known = malloc(sizeof *known);
    if (known != NULL) {
        known->request = *request;
        known->operation = operation;
        memcpy(known->digest, digest, sizeof known->digest);
        known->refs = 1;
        ps_request_known_unref(*slot);
        *slot = known;
    }
}

void ps_request_known_unref(struct ps_request_known *known)
{
    if (known != NULL && --known->refs == 0) {
        free(known);
    }
}
