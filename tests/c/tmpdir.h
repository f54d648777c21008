/* SPDX-License-Identifier: BSD-3-Clause */
/* tmpdir.h -- a directory in TMPDIR, or /tmp, that goes away with the program */
#ifndef TMPDIR_H
#define TMPDIR_H

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tap.h"

static char tmpdir[PATH_MAX - 64];

static int tmpdir_remove(const char *path, const struct stat *st, int type,
			 struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void tmpdir_clean(void)
{
	nftw(tmpdir, tmpdir_remove, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void tmpdir_make(void)
{
	const char *parent = getenv("TMPDIR");
	int n = snprintf(tmpdir, sizeof(tmpdir), "%s/daxcore-test-XXXXXX",
			 parent && *parent ? parent : "/tmp");

	MUST(n < (int)sizeof(tmpdir) && mkdtemp(tmpdir));
	atexit(tmpdir_clean);
}

/* Path of a file in it: valid until the eighth next call. */
static inline const char *tmp_path(const char *name)
{
	static char path[8][PATH_MAX];
	static unsigned int next;

	next = (next + 1) % 8;
	snprintf(path[next], sizeof(path[next]), "%s/%s", tmpdir, name);
	return path[next];
}

/* Make a file of @size bytes of @value; its path. */
static inline const char *tmp_file(const char *name, size_t size, int value)
{
	const char *path = tmp_path(name);
	char *buf = malloc(size + 1);
	int fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);

	MUST(fd >= 0 && buf);
	memset(buf, value, size + 1);
	MUST(write(fd, buf, size) == (ssize_t)size);
	close(fd);
	free(buf);
	return path;
}

static inline long file_size(const char *path)
{
	struct stat st;

	return stat(path, &st) ? -1 : (long)st.st_size;
}

#endif
