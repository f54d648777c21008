/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * real_floor.c -- the kernel calls of a fault of real memory, and nothing else
 *
 * Owns: between rounds nothing; within one its memory, descriptors, thread and
 *       the process's SIGBUS handler.
 */
#define _GNU_SOURCE
#include "real_floor.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "real_touch.h"
#include "sys.h"
#include "uffd.h"
#include "vm_area.h"

enum { EVENTS = 16, STOP = 1 };

struct real_floor {
	int work;
	char *start;
	size_t length;
	int uffd;
	int memfd;		/* a page for every store, allocated */
	uint64_t next_offset;	/* of it */
	int fd;			/* a sparse file ... */
	char *window;		/* ... all of it */
	_Atomic int error;
	/* of the thread */
	int epoll, stop;
	pthread_t thread;
};

/* The signal handler's. */
static struct real_floor *handled;

/* ---- a touch ---------------------------------------------------------------- */

static int insert_zero(struct real_floor *fl, char *page)
{
	uint64_t found[1];
	int ret = uffd_zeropage(fl->uffd, page, DAX_PAGE_SIZE);

	if (ret || fl->work == REAL_FLOOR_LOAD)
		return ret;
	ret = uffd_writeprotect(fl->uffd, page, DAX_PAGE_SIZE, true);
	if (!ret)
		ret = (int)vm_area_private_pages(page, DAX_PAGE_SIZE, found, 1);
	return ret;
}

static int take_block(struct real_floor *fl, char *page)
{
	uint64_t offset = (uint64_t)(page - fl->start);
	char old = 0;

	atomic_compare_exchange_strong((_Atomic char *)fl->window + offset, &old, 0);
	return vm_area_map_file(page, DAX_PAGE_SIZE, fl->fd, offset, true, true);
}

static void serve(struct real_floor *fl, uintptr_t address)
{
	char *page = (char *)(address & ~(uintptr_t)(DAX_PAGE_SIZE - 1));
	int ret;

	if (fl->work == REAL_FLOOR_STORE_SPARSE) {
		ret = take_block(fl, page);
	} else if (fl->work == REAL_FLOOR_STORE) {
		ret = vm_area_map_file(page, DAX_PAGE_SIZE, fl->memfd,
				       fl->next_offset, true, true);
		fl->next_offset += DAX_PAGE_SIZE;
	} else {
		ret = insert_zero(fl, page);
	}
	if (ret)
		fl->error = ret;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	serve(handled, (uintptr_t)info->si_addr);
	if (handled->error)
		_exit(1);	/* the touch would be repeated without end */
}

static void *serve_faults(void *arg)
{
	struct real_floor *fl = arg;
	struct epoll_event event[EVENTS];
	struct uffd_event touch;

	for (;;) {
		int nr = epoll_wait(fl->epoll, event, EVENTS, -1);

		for (int i = 0; i < nr; i++)
			if (event[i].data.u32 == STOP)
				return NULL;
		while (nr > 0 && uffd_read(fl->uffd, &touch) > 0) {
			serve(fl, touch.address);
			uffd_wake(fl->uffd, (void *)touch.address, DAX_PAGE_SIZE);
		}
	}
}

/* ---- a round ----------------------------------------------------------------- */

/* Where the bytes are going to be. */
static int prepare_memfd(struct real_floor *fl)
{
	fl->memfd = memfd_create("real-floor", MFD_CLOEXEC);
	if (fl->memfd < 0 || posix_fallocate(fl->memfd, 0, (off_t)fl->length))
		return -ENOMEM;
	return 0;
}

static int prepare_window(struct real_floor *fl)
{
	void *window = MAP_FAILED;

	if (!ftruncate(fl->fd, (off_t)fl->length))
		window = mmap(NULL, fl->length, PROT_READ | PROT_WRITE, MAP_SHARED,
			      fl->fd, 0);
	if (window == MAP_FAILED)
		return -errno;
	fl->window = window;
	return madvise(window, fl->length, MADV_RANDOM) ? -errno : 0;
}

/* Zeroes all over; the first store to a page of them is told of. */
static int arm_stores(struct real_floor *fl)
{
	bool huge = !vm_area_populate_huge_zero(fl->start, fl->length);
	int ret = fl->work == REAL_FLOOR_STORE ? prepare_memfd(fl) : prepare_window(fl);

	if (!ret)
		ret = uffd_register(fl->uffd, fl->start, fl->length);
	if (!ret && !huge)
		ret = uffd_zeropage(fl->uffd, fl->start, fl->length);
	if (!ret)
		ret = uffd_writeprotect(fl->uffd, fl->start, fl->length, true);
	return ret;
}

static int prepare(struct real_floor *fl, int signal)
{
	unsigned int features;
	void *start;
	int ret = vm_area_reserve(&start, fl->length, 0);

	if (ret)
		return ret;
	fl->start = start;
	fl->uffd = uffd_open(signal, &features);
	if (fl->uffd < 0)
		return fl->uffd;
	ret = vm_area_replace(start, fl->length);
	if (!ret)
		ret = vm_area_protect(start, fl->length, true,
				      fl->work != REAL_FLOOR_LOAD);
	if (ret)
		return ret;
	return fl->work >= REAL_FLOOR_STORE ? arm_stores(fl) :
			uffd_register(fl->uffd, start, fl->length);
}

static void release(struct real_floor *fl)
{
	if (fl->start)
		vm_area_release(fl->start, fl->length);
	if (fl->uffd >= 0)
		close(fl->uffd);
	if (fl->memfd >= 0)
		close(fl->memfd);
	if (fl->window)
		munmap(fl->window, fl->length);
}

static int64_t touch(struct real_floor *fl, uint64_t nr, const uint64_t *order)
{
	uint64_t start = sys_clock_ns();

	if (fl->work >= REAL_FLOOR_STORE)
		real_store(fl->start, nr, order);
	else
		real_load(fl->start, nr, order);
	start = sys_clock_ns() - start;
	return fl->error ? fl->error : (int64_t)start;
}

static int64_t by_signal(struct real_floor *fl, uint64_t nr, const uint64_t *order)
{
	struct sigaction before, action = {
		.sa_sigaction = on_sigbus,
		.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK,
	};
	int64_t ret;

	handled = fl;
	if (sigaction(SIGBUS, &action, &before))
		return -errno;
	ret = touch(fl, nr, order);
	sigaction(SIGBUS, &before, NULL);
	return ret;
}

static int start_thread(struct real_floor *fl)
{
	struct epoll_event touched = { .events = EPOLLIN };
	struct epoll_event stopped = { .events = EPOLLIN, .data.u32 = STOP };

	if (epoll_ctl(fl->epoll, EPOLL_CTL_ADD, fl->uffd, &touched) ||
	    epoll_ctl(fl->epoll, EPOLL_CTL_ADD, fl->stop, &stopped))
		return -errno;
	return -pthread_create(&fl->thread, NULL, serve_faults, fl);
}

static int64_t by_thread(struct real_floor *fl, uint64_t nr, const uint64_t *order)
{
	int64_t ret;

	fl->epoll = epoll_create1(EPOLL_CLOEXEC);
	fl->stop = eventfd(0, EFD_CLOEXEC);
	ret = fl->epoll < 0 || fl->stop < 0 ? -EMFILE : start_thread(fl);
	if (!ret) {
		ret = touch(fl, nr, order);
		eventfd_write(fl->stop, 1);
		pthread_join(fl->thread, NULL);
	}
	close(fl->stop);
	close(fl->epoll);
	return ret;
}

int64_t real_floor_round(int work, int signal, uint64_t nr_pages,
			 const uint64_t *order, int fd)
{
	struct real_floor fl = {
		.work = work, .length = nr_pages * DAX_PAGE_SIZE,
		.uffd = -1, .memfd = -1, .fd = fd,
	};
	int64_t ret;

	if (work < 0 || work >= REAL_FLOOR_NR_WORKS || !nr_pages)
		return -EINVAL;
	ret = prepare(&fl, signal);
	if (!ret)
		ret = signal ? by_signal(&fl, nr_pages, order) :
			       by_thread(&fl, nr_pages, order);
	release(&fl);
	if (work == REAL_FLOOR_STORE_SPARSE && ftruncate(fd, 0) && ret >= 0)
		ret = -errno;
	return ret;
}
