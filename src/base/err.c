#include "base/err.h"

#include <errno.h>

const char *ps_err_text(int err)
{
    switch (err) {
#define PS_ERR_CASE(name, value, text)                                                             \
    case value:                                                                                    \
        return text;
        PS_ERR_TABLE(PS_ERR_CASE)
#undef PS_ERR_CASE
    default:
        return "unknown error";
    }
}

int ps_err_from_errno(int error)
{
    switch (error) {
    case 0:
        return PS_OK;
    case ENOMEM:
    case ENOBUFS:
        return PS_ENOMEM;
    case EMFILE:
    case ENFILE:
        return PS_ELIMIT;
    case EINVAL:
        return PS_EINVAL;
    case ETIMEDOUT:
        return PS_ETIMEOUT;
    case ECONNREFUSED:
        return PS_EREFUSED;
    case ECONNRESET:
    case EPIPE:
        return PS_ERESET;
    case ENOENT:
        return PS_ENOTFOUND;
    case EACCES:
    case EPERM:
        return PS_EDENIED;
    case EADDRINUSE:
        return PS_EINUSE;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case EADDRNOTAVAIL:
        return PS_EUNREACHABLE;
    default:
        return PS_EIO;
    }
}
