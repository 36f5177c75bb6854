/* err - the one table of error codes and their sentences.
 *
 * A function that can fail returns an int: PS_OK (0) or one of these negative codes. Predicates
 * return bool, look-ups return a pointer or NULL; the three are never mixed.
 *
 * Thread: constants only.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_ERR_H
#define PS_BASE_ERR_H

/* X(name, value, sentence) */
#define PS_ERR_TABLE(X)                                                                            \
    X(PS_OK, 0, "success")                                                                         \
    X(PS_ENOMEM, -1, "out of memory")                                                              \
    X(PS_ELIMIT, -2, "a configured bound was reached")                                             \
    X(PS_EINVAL, -3, "invalid value")                                                              \
    X(PS_EPARSE, -4, "malformed input")                                                            \
    X(PS_EIO, -5, "input or output failed")                                                        \
    X(PS_ETIMEOUT, -6, "the deadline passed")                                                      \
    X(PS_ECLOSED, -7, "the peer closed the connection")                                            \
    X(PS_EREFUSED, -8, "the connection was refused")                                               \
    X(PS_ERESET, -9, "the connection was reset")                                                   \
    X(PS_ERESOLVE, -10, "the name could not be resolved")                                          \
    X(PS_ETLS, -11, "the TLS handshake or record failed")                                          \
    X(PS_ENOTFOUND, -12, "not found")                                                              \
    X(PS_EBUSY, -13, "busy")                                                                       \
    X(PS_ECANCELED, -14, "canceled")                                                               \
    X(PS_EDENIED, -15, "permission denied")                                                        \
    X(PS_EINUSE, -16, "the address is already in use")                                             \
    X(PS_EUNREACHABLE, -17, "the network or host is unreachable")

enum ps_err {
#define PS_ERR_ENUM(name, value, text) name = value,
    PS_ERR_TABLE(PS_ERR_ENUM)
#undef PS_ERR_ENUM
};

/* The result must be looked at; ignoring on purpose is written PS_IGNORE(call). */
#define PS_MUST_CHECK __attribute__((warn_unused_result))
#define PS_IGNORE(call)                                                                            \
    do {                                                                                           \
        int ignored_ = (call);                                                                     \
        (void)ignored_;                                                                            \
    } while (0)

/* Returns the sentence for a code; "unknown error" for a number that is not in the table.
 * Static text. */
const char *ps_err_text(int err);

/* Maps an errno value (positive) to the nearest code; PS_EIO when there is none. */
int ps_err_from_errno(int error);

#endif
