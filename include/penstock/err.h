/* err - the codes that functions of Penstock return: PS_OK, or one of these negative numbers.
 *
 * This table is the only one: the program and the library have the same codes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PENSTOCK_ERR_H
#define PENSTOCK_ERR_H

/* X(name, value, sentence) */
#define PS_ERR_TABLE(X)                                   \
    X(PS_OK, 0, "success")                                \
    X(PS_ENOMEM, -1, "out of memory")                     \
    X(PS_ELIMIT, -2, "a configured bound was reached")    \
    X(PS_EINVAL, -3, "invalid value")                     \
    X(PS_EPARSE, -4, "malformed input")                   \
    X(PS_EIO, -5, "input or output failed")               \
    X(PS_ETIMEOUT, -6, "the deadline passed")             \
    X(PS_ECLOSED, -7, "the peer closed the connection")   \
    X(PS_EREFUSED, -8, "the connection was refused")      \
    X(PS_ERESET, -9, "the connection was reset")          \
    X(PS_ERESOLVE, -10, "the name could not be resolved") \
    X(PS_ETLS, -11, "the TLS handshake or record failed") \
    X(PS_ENOTFOUND, -12, "not found")                     \
    X(PS_EBUSY, -13, "busy")                              \
    X(PS_ECANCELED, -14, "canceled")                      \
    X(PS_EDENIED, -15, "permission denied")               \
    X(PS_EINUSE, -16, "the address is already in use")    \
    X(PS_EUNREACHABLE, -17, "the network or host is unreachable")

enum ps_err {
#define PS_ERR_ENUM(name, value, text) name = value,
    PS_ERR_TABLE(PS_ERR_ENUM)
#undef PS_ERR_ENUM
};

#endif
