/* secret - see secret.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/secret.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int ps_secret_read(const char *path, char out[PS_SECRET_MAX], const char **why)
{
    char line[PS_SECRET_MAX];
    FILE *file = fopen(path, "re");
    if (file == NULL || fgets(line, sizeof line, file) == NULL) {
        *why = file == NULL ? strerror(errno) : "the file is empty";
        if (file != NULL) {
            fclose(file);
        }
        return PS_EIO;
    }
    fclose(file);
    line[strcspn(line, "\r\n")] = '\0';
    memcpy(out, line, strlen(line) + 1);
    return PS_OK;
}
