/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * copy_mc.h -- touch the medium and survive it
 *
 * A store to a mapped file that was truncated by somebody, whose file system
 * is full, or whose medium is broken, is SIGBUS.  These copies turn it into
 * -EIO.  Over plain memory (no device but memfds was ever opened) they are
 * memcpy() and memset().
 */
#ifndef DAXCORE_COPY_MC_H
#define DAXCORE_COPY_MC_H

#include <stddef.h>

/* From now on copies are guarded: a device that can fail is opened.  Puts a
 * SIGBUS handler before the present one, which still gets what is not ours.
 * 0 or -errno. */
int copy_mc_arm(void);

/* 0, or -EIO: the medium refused, an unknown part was copied. */
int copy_mc(void *to, const void *from, size_t n);
int zero_mc(void *to, size_t n);

/* Store to a page what it holds, so that the medium gives it a block and later
 * stores find one.  0 or -EIO. */
int touch_mc(void *page);

#endif
