/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bounce.h -- a caller's buffer that lies in a real mapping
 *
 * To touch it may be a fault, which takes the locks of its file: a call that
 * holds them would wait for itself.  Such a buffer is copied to and from with no
 * lock held, a MiB at a time; each MiB is a step of its own for others.
 */
#ifndef DAXCORE_BOUNCE_H
#define DAXCORE_BOUNCE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Move @len bytes between @buf and what @arg means, @done bytes behind its
 * start.  Bytes moved, fewer at its end; -errno. */
typedef ssize_t (*bounce_fn)(const void *arg, void *buf, size_t len, size_t done);

/* Must it? */
bool needs_bounce(const void *buf, size_t len);

/*
 * @step, over and over, to (@load) or from a buffer that is no mapping's.
 * Return: bytes moved; -errno of the first step; -EFAULT: @buf cannot be
 * accessed; -ENOMEM.
 */
ssize_t bounce(bounce_fn step, const void *arg, void *buf, size_t len, bool load);

#endif
