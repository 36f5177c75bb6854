/* tree - a folder of small files that plays a system's /sys and /proc.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_HELPERS_TREE_H
#define TESTS_HELPERS_TREE_H

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct tree {
    char root[64];
};

static inline void tree_check(bool condition, const char *path)
{
    if (!condition) {
        perror(path);
        abort();
    }
}

static inline void tree_open(struct tree *tree)
{
    (void)snprintf(tree->root, sizeof tree->root, "/tmp/ps-tree-XXXXXX");
    tree_check(mkdtemp(tree->root) != NULL, tree->root);
}

/* The whole of a path in `whole`; makes the folders above it. */
static inline void tree_reach(const struct tree *tree, const char *path, char whole[512])
{
    (void)snprintf(whole, 512, "%s/%s", tree->root, path);
    for (char *c = whole + strlen(tree->root) + 1; *c != '\0'; c++) {
        if (*c == '/') {
            *c = '\0';
            (void)mkdir(whole, 0700);
            *c = '/';
        }
    }
}

/* Makes a symbolic link, whether there is anything at its end or not. */
static inline void tree_link(const struct tree *tree, const char *path, const char *target)
{
    char whole[512];
    tree_reach(tree, path, whole);
    tree_check(symlink(target, whole) == 0, whole);
}

/* Writes a file and makes the folders above it. */
static inline void tree_put(const struct tree *tree, const char *path, const char *text)
{
    char whole[512];
    tree_reach(tree, path, whole);
    FILE *file = fopen(whole, "we");
    tree_check(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0, whole);
}

static inline int tree_remove(const char *path, const struct stat *info, int flag,
                              struct FTW *place)
{
    (void)info;
    (void)flag;
    (void)place;
    return remove(path);
}

/* Removes a file or folder; "" is all of it. */
static inline void tree_drop(const struct tree *tree, const char *path)
{
    char whole[512];
    (void)snprintf(whole, sizeof whole, "%s/%s", tree->root, path);
    tree_check(nftw(whole, tree_remove, 16, FTW_DEPTH | FTW_PHYS) == 0, whole);
}

static inline void tree_close(struct tree *tree)
{
    tree_drop(tree, "");
}

#endif
