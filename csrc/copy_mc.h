/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * copy_mc.h -- touch the medium and survive it
 *
 * A store to a mapped file that was truncated by somebody, whose file system
 * is full, or whose medium is broken, is SIGBUS.  These copies turn it into
 * -EIO, and into -EFAULT where it was the caller's own memory that failed.
 * Over plain memory (no device but memfds was ever opened) nothing is guarded.
 */
#ifndef DAXCORE_COPY_MC_H
#define DAXCORE_COPY_MC_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

/* From now on copies are guarded: a device that can fail is opened.  Puts a
 * SIGBUS handler before the present one, which still gets what is not ours.
 * 0 or -errno. */
int copy_mc_arm(void);

/* Asked first about every SIGBUS: true: go on where it came.  May put right
 * where and why it came.  Runs in the signal handler. */
typedef bool (*sigbus_fn)(siginfo_t *info, const void *context);
void copy_mc_ask_first(sigbus_fn fn);

/* Bytes from the medium.  0, -EIO or -EFAULT: an unknown part was copied. */
int copy_mc(void *to, const void *from, size_t n);

/* How bytes are moved: move_bytes(), or past the cache. */
typedef void (*move_fn)(void *to, const void *from, size_t n);

/* Bytes to the medium by @move; @from is NULL for a memset()-like one.  0, -EIO
 * or -EFAULT: an unknown part was stored. */
int move_mc(move_fn move, void *to, const void *from, size_t n);

/* Store to a page what it holds, so that the medium gives it a block and later
 * stores find one.  0 or -EIO. */
int touch_mc(void *page);

#endif
