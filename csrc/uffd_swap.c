/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uffd_swap.c -- empty registered memory in place of what is there, at once
 *
 * Owns: a thread that reads the events of mremap(2), and takes no lock.
 * Locks: swap_lock, innermost: one range is moved at a time.
 * Kernel: mm/mremap.c, MREMAP_DONTUNMAP (5.7); fs/userfaultfd.c,
 *         mremap_userfaultfd_complete().
 */
#define _GNU_SOURCE
#include "uffd_swap.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sys.h"
#include "uffd.h"
#include "vm_area.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

enum { STACK_BYTES = 256 << 10, HUGE = 2 << 20 };

/* What the thread is told; fd < 0: no more of it. */
struct order {
	int fd;
	char *area;
	size_t area_len;
	char *start;
	size_t length;
};

static struct mutex swap_lock;
static int orders[2] = { -1, -1 };
static uint32_t nr_given;
static _Atomic uint32_t nr_taken;

/* ---- the thread ------------------------------------------------------------------ */

/* Touches that were read while events were waited for, anywhere in the area or in
 * the spare one, come again. */
static void wake_touches(const struct order *order, uint64_t *touches)
{
	if (*touches) {
		uffd_wake(order->fd, order->area, order->area_len);
		uffd_wake(order->fd, order->start, order->length);
	}
	*touches = 0;
}

static void *read_events(void *arg)
{
	struct pollfd what[2] = { { .fd = (int)(intptr_t)arg, .events = POLLIN } };
	struct order order = { .fd = -1 };
	uint64_t touches = 0;

	for (;;) {
		what[1] = (struct pollfd){ .fd = order.fd, .events = POLLIN };
		if (poll(what, 2, -1) <= 0)
			continue;
		if (what[1].revents && uffd_read_remap(order.fd, &touches))
			wake_touches(&order, &touches);
		if (!what[0].revents)
			continue;
		wake_touches(&order, &touches);
		if (sys_read(what[0].fd, &order, sizeof(order)) != sizeof(order))
			return NULL;
		atomic_fetch_add(&nr_taken, 1);
		futex_wake(&nr_taken, 1);
	}
}

/* swap_lock held. */
static int start_thread(void)
{
	int ends[2], ret;

	if (orders[0] >= 0)
		return 0;
	if (dax_test_fail_alloc(sizeof(ends)))
		return -ENOMEM;
	ret = (int)sys_result(pipe2(ends, O_CLOEXEC));
	if (ret)
		return ret;
	ret = sys_create_thread(read_events, (void *)(intptr_t)ends[0], STACK_BYTES);
	if (ret) {
		sys_close(ends[0]);
		sys_close(ends[1]);
		return ret;
	}
	orders[0] = ends[0];
	orders[1] = ends[1];
	return 0;
}

/* ---- the calls -------------------------------------------------------------------- */

static void give(struct order order)
{
	while (sys_result(write(orders[1], &order, sizeof(order))) == -EINTR)
		;
	nr_given++;
}

static int move_over(const struct uffd_spare *spare, char *addr, size_t len)
{
	void *at = mremap(spare->start, len, len,
			  MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, addr);

	return sys_map_result(at);
}

/* swap_lock held. */
static void empty(struct uffd_spare *spare)
{
	if (spare->touched)
		vm_area_discard(spare->start, spare->length);
	spare->touched = false;
}

int uffd_swap(struct uffd_spare *spare, char *addr, size_t len)
{
	int ret;

	mutex_lock(&swap_lock);
	ret = start_thread();
	empty(spare);
	if (!ret)
		give((struct order){ spare->fd, spare->area, spare->area_len,
				     spare->start, spare->length });
	for (size_t done = 0, n; !ret && done < len; done += n) {
		n = len - done < spare->length ? len - done : spare->length;
		ret = move_over(spare, addr + done, n);
	}
	if (orders[0] >= 0)
		give((struct order){ .fd = -1 });
	mutex_unlock(&swap_lock);
	return ret;
}

void uffd_swap_touched(struct uffd_spare *spare, uintptr_t address)
{
	size_t offset = (address - (uintptr_t)spare->start) & ~(size_t)4095;
	size_t n = HUGE - offset % HUGE;

	if (!spare->start || offset >= spare->length)
		return;
	if (n > spare->length - offset)
		n = spare->length - offset;
	mutex_lock(&swap_lock);
	spare->touched = true;
	uffd_zeropage(spare->fd, spare->start + offset, n);
	mutex_unlock(&swap_lock);
	uffd_wake(spare->fd, spare->start + offset, n);
}

void uffd_swap_end(void)
{
	uint32_t taken;

	mutex_lock(&swap_lock);
	while ((taken = atomic_load(&nr_taken)) != nr_given)
		futex_wait(&nr_taken, taken);
	mutex_unlock(&swap_lock);
}

/* ---- fork -------------------------------------------------------------------------- */

/* The thread is not here. */
static void fork_child(void)
{
	for (int i = 0; i < 2; i++) {
		if (orders[i] >= 0)
			sys_close(orders[i]);
		orders[i] = -1;
	}
	nr_given = 0;
	atomic_store(&nr_taken, 0);
	mutex_reset(&swap_lock);
}

__attribute__((constructor)) static void uffd_swap_init(void)
{
	sys_at_fork(NULL, NULL, fork_child);
}
