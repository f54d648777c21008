/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bounce.c -- a caller's buffer that lies in a real mapping
 *
 * Owns: nothing.  Locks: none.
 */
#include "bounce.h"

#include <errno.h>

#include "copy_mc.h"
#include "errormsg.h"
#include "move.h"
#include "sys.h"
#include "vma_real.h"

enum { BOUNCE_BYTES = 1 << 20 };

bool needs_bounce(const void *buf, size_t len)
{
	return vma_real_overlaps(buf, len);
}

static ssize_t load_step(bounce_fn step, const void *arg, char *room, char *buf,
			 size_t len, size_t done)
{
	ssize_t n = step(arg, room, len, done);
	int ret = n > 0 ? copy_mc(buf, room, (size_t)n) : 0;

	return ret ? ret : n;
}

static ssize_t store_step(bounce_fn step, const void *arg, char *room, char *buf,
			  size_t len, size_t done)
{
	int ret = move_mc(move_bytes, room, buf, len);

	return ret ? ret : step(arg, room, len, done);
}

ssize_t bounce(bounce_fn step, const void *arg, void *buf, size_t len, bool load)
{
	size_t room_bytes = len < BOUNCE_BYTES ? len : BOUNCE_BYTES;
	char *room = dax_zalloc(room_bytes);
	size_t done = 0;
	ssize_t n = 0;

	if (!room)
		return dax_error(-ENOMEM, "no memory for a copy of the caller's buffer, "
				 "which is part of a mapping");
	while (done < len) {
		size_t want = len - done < room_bytes ? len - done : room_bytes;

		n = (load ? load_step : store_step)(step, arg, room, (char *)buf + done,
						    want, done);
		if (n <= 0)
			break;
		done += (size_t)n;
		if ((size_t)n < want)
			break;
	}
	dax_free(room);
	return done ? (ssize_t)done : n;
}
