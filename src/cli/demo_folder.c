/* demo_folder - see demo_folder.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/demo_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PLACE "/tmp"
#define NAME  "penstock-demo-"
#define LOCK  "lock"
#define YOUNG 60 /* seconds in which a folder may not have been locked yet */

static int remove_item(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    (void)remove(path);
    return 0;
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_item, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* Opens and locks the file; -1 when it is not there or somebody else has it. */
static int take_lock(const char *folder, int flags)
{
    char path[320];
    snprintf(path, sizeof path, "%s/" LOCK, folder);
    int file = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    if (file >= 0 && flock(file, LOCK_EX | LOCK_NB) != 0) {
        close(file);
        file = -1;
    }
    return file;
}

static bool is_ours(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == geteuid() &&
           time(NULL) - info.st_mtime > YOUNG;
}

static void remove_left(const char *name)
{
    char path[300];
    snprintf(path, sizeof path, PLACE "/%s", name);
    int lock = is_ours(path) ? take_lock(path, 0) : -1;
    if (lock >= 0) {
        remove_tree(path);
        close(lock);
    }
}

static void remove_all_left(void)
{
    DIR *place = opendir(PLACE);
    const struct dirent *item = NULL;
    while (place != NULL && (item = readdir(place)) != NULL) {
        if (strncmp(item->d_name, NAME, sizeof NAME - 1) == 0) {
            remove_left(item->d_name);
        }
    }
    if (place != NULL) {
        closedir(place);
    }
}

int ps_demo_folder_make(struct ps_demo_folder *folder)
{
    remove_all_left();
    snprintf(folder->path, sizeof folder->path, PLACE "/" NAME "XXXXXX");
    if (mkdtemp(folder->path) == NULL) {
        folder->path[0] = '\0';
        return ps_err_from_errno(errno);
    }
    folder->lock = take_lock(folder->path, O_CREAT | O_EXCL);
    return folder->lock >= 0 ? PS_OK : ps_err_from_errno(errno);
}

void ps_demo_folder_remove(struct ps_demo_folder *folder)
{
    if (folder->path[0] != '\0') {
        remove_tree(folder->path);
    }
    folder->path[0] = '\0';
}
