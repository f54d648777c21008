/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sparse_file.c -- a block map that is the file's own
 *
 * Owns: what is known of the file's holes, and up to when it is true.
 * Locks: sf->lock to add pages beside readers, inside entry locks; pages are
 *        taken out, and the file is looked over, with i_rwsem and
 *        invalidate_lock exclusive.  A question takes no lock and no system
 *        call.
 * Kernel: the file system; the way there is lseek(SEEK_DATA, SEEK_HOLE),
 *         FIEMAP, fallocate() and a store to the window.
 *
 * Blocks are taken by touching the page in the window: it is what costs least
 * for a page, and it cannot destroy what another program wrote meanwhile, as
 * writing zeroes could.  The touch is guarded: a full file system is an answer.
 *
 * Foreign changes show in ctime.  So do our own: each takes the time before and
 * after (own_begin, own_end).  What another program did in between hides there,
 * so the file is looked over again later, as often as calls have paid for it.
 */
#include "sparse_file.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "copy_mc.h"
#include "errormsg.h"
#include "invalidate.h"
#include "iomap.h"

enum {
	TOUCH_PAGES = 512,	/* touched for one answer, at most */
	SCAN_CALLS = 16		/* what a scan costs beside its extents */
};

/* Times within a tick of the clock of file times are not told apart. */
static const int64_t tick_ns = 20000000;

static struct sparse_file *to_sparse(struct dax_mapping *mapping)
{
	return mapping->private_data;
}

static __cold int sys_failed(const struct sparse_file *sf, int err,
			     const char *what)
{
	return dax_error(err, "%s: cannot %s: %s", sf->dev->path, what,
			 strerror(-err));
}

static int file_info(const struct sparse_file *sf, struct sys_file_info *ret_info)
{
	int ret = sys_file_info(sf->dev->fd, ret_info);

	return ret ? sys_failed(sf, ret, "ask its size") : 0;
}

static dax_pgoff_t page_of(uint64_t pos)
{
	return pos >> DAX_PAGE_SHIFT;
}

static dax_pgoff_t pages_up(uint64_t pos)
{
	return (pos + DAX_PAGE_SIZE - 1) >> DAX_PAGE_SHIFT;
}

static dax_pgoff_t window_pages(const struct sparse_file *sf)
{
	return sf->dev->size >> DAX_PAGE_SHIFT;
}

static int check_window(const struct sparse_file *sf, uint64_t size)
{
	if (size <= sf->dev->size)
		return 0;
	return dax_error(-EFBIG, "%s: %" PRIu64 " bytes are more than the window of %"
			 PRIu64 " bytes that was opened on it can show", sf->dev->path,
			 size, sf->dev->size);
}

/* ---- whose changes -------------------------------------------------------------- */

/* Before a change of our own; true: nobody else changed the file so far. */
static bool own_begin(struct sparse_file *sf)
{
	uint32_t before = atomic_fetch_add(&sf->in_flight, 1);
	struct sys_file_info info;

	if (sys_file_info(sf->dev->fd, &info))
		return false;
	return before || info.ctime_ns == READ_ONCE(sf->stamp);
}

static void own_end(struct sparse_file *sf, bool known)
{
	struct sys_file_info info;

	if (known && !sys_file_info(sf->dev->fd, &info)) {
		WRITE_ONCE(sf->stamp, info.ctime_ns);
		WRITE_ONCE(sf->trust, SPARSE_OWN);
	}
	atomic_fetch_sub(&sf->in_flight, 1);
}

/* The next call looks the file over. */
static void forget_stamp(struct sparse_file *sf)
{
	WRITE_ONCE(sf->stamp, INT64_MIN);
}

static void set_stamp(struct sparse_file *sf, int64_t ctime_ns)
{
	bool racy = sys_clock_real_ns() - ctime_ns < tick_ns;

	WRITE_ONCE(sf->stamp, ctime_ns);
	WRITE_ONCE(sf->trust, racy ? SPARSE_RACY : SPARSE_KNOWN);
	WRITE_ONCE(sf->credit, 0);
}

/* A scan costs a call or so for each extent: as many calls go by without. */
static bool can_afford_scan(struct sparse_file *sf)
{
	uint64_t credit = atomic_fetch_add_explicit(&sf->credit, 1,
						    memory_order_relaxed);

	return credit >= SCAN_CALLS + READ_ONCE(sf->nr_runs);
}

/* Is what is known of the file still true, as far as can be seen?  While a
 * change of our own is in progress nothing can be seen. */
static bool still_known(struct dax_mapping *mapping,
			const struct sys_file_info *info)
{
	struct sparse_file *sf = to_sparse(mapping);

	if (READ_ONCE(sf->in_flight))
		return true;
	if (info->ctime_ns != READ_ONCE(sf->stamp) ||
	    (dax_loff_t)info->size != i_size_read(mapping))
		return false;
	if (likely(READ_ONCE(sf->trust) == SPARSE_KNOWN))
		return true;
	return READ_ONCE(sf->trust) == SPARSE_OWN && !can_afford_scan(sf);
}

/* ---- looking the file over (alone) ------------------------------------------------ */

/* A walk over the data of the file; @mapping is NULL when nothing is shown. */
struct scan {
	struct sparse_file *sf;
	struct dax_mapping *mapping;
	dax_pgoff_t next;	/* first page not yet decided */
	uint64_t nr_runs;
	uint64_t nr_data;	/* pages */
};

/* Data entries that had to stay are still shown: their pages stay data, and
 * read from the window what the hole holds, zeroes. */
static void keep_shown(struct scan *scan, dax_pgoff_t first, dax_pgoff_t last)
{
	struct radix_tree_iter iter;

	while (radix_tree_next(&scan->mapping->i_pages, first, last, &iter)) {
		dax_pgoff_t end = radix_tree_iter_last(&iter);

		page_set_assign(&scan->sf->data, iter.index > first ? iter.index : first,
				end < last ? end : last, true);
		if (end >= last)
			return;
		first = end + 1;
	}
}

/* Pages are not what they were: so are entries and leaves. */
static void change_pages(struct scan *scan, dax_pgoff_t first, dax_pgoff_t last,
			 bool data)
{
	struct dax_mapping *mapping = scan->mapping;

	page_set_assign(&scan->sf->data, first, last, data);
	if (!mapping)
		return;
	invalidate_pages_range(mapping, this_percpu(&mapping->percpu), first, last,
			       data, 0);
	if (!data)
		keep_shown(scan, first, last);
}

/* Pages from scan->next to before @end are @data. */
static void decide(struct scan *scan, dax_pgoff_t end, bool data)
{
	while (scan->next < end) {
		dax_pgoff_t first = scan->next;
		uint64_t run;

		if (page_set_run(&scan->sf->data, first, end - 1, &run) != data)
			change_pages(scan, first, first + run - 1, data);
		scan->next = first + run;
	}
}

/* One run of data at or after @pos; its end, or -ENXIO: there is none. */
static int64_t scan_run(struct scan *scan, uint64_t pos, uint64_t size)
{
	int fd = scan->sf->dev->fd;
	int64_t start = sys_seek_data(fd, pos), end;

	if (start < 0)
		return start;
	if ((uint64_t)start >= size)
		return -ENXIO;
	end = sys_seek_hole(fd, (uint64_t)start);
	if (end == -ENXIO || end > (int64_t)size)
		end = (int64_t)size;
	if (end < 0)
		return end;
	decide(scan, page_of((uint64_t)start), false);
	decide(scan, pages_up((uint64_t)end), true);
	scan->nr_data += pages_up((uint64_t)end) - page_of((uint64_t)start);
	scan->nr_runs++;
	return end;
}

static int scan_data(struct scan *scan, uint64_t size)
{
	int64_t pos = 0;

	do	/* of an empty file too: does it know of holes at all? */
		pos = scan_run(scan, (uint64_t)pos, size);
	while (pos >= 0 && (uint64_t)pos < size);
	if (pos == -EINVAL || pos == -EOPNOTSUPP) {
		scan->sf->all_data = true;
		decide(scan, pages_up(size), true);
		pos = 0;
	}
	if (pos < 0 && pos != -ENXIO)
		return sys_failed(scan->sf, (int)pos, "look for its holes");
	decide(scan, window_pages(scan->sf), false);
	WRITE_ONCE(scan->sf->nr_runs, scan->nr_runs);
	return 0;
}

static void scanned(struct scan *scan, const struct sys_file_info *info)
{
	WRITE_ONCE(scan->sf->set_aside,
		   info->allocated > scan->nr_data << DAX_PAGE_SHIFT);
	set_stamp(scan->sf, info->ctime_ns);
}

/* The time is taken first: what changes during the walk is seen after it. */
int sparse_file_scan(struct sparse_file *sf, uint64_t size)
{
	struct scan scan = { .sf = sf };
	struct sys_file_info info;
	int ret = file_info(sf, &info);

	if (!ret)
		ret = scan_data(&scan, size);
	if (!ret)
		scanned(&scan, &info);
	return ret;
}

static int look_over(struct dax_mapping *mapping, void *arg)
{
	struct scan scan = { .sf = to_sparse(mapping), .mapping = mapping };
	struct sys_file_info info;
	int ret = file_info(scan.sf, &info);

	(void)arg;
	if (!ret)
		ret = check_window(scan.sf, info.size);
	if (!ret)
		ret = mapping_follow_size(mapping, (dax_loff_t)info.size);
	if (!ret)
		ret = scan_data(&scan, info.size);
	if (!ret)
		scanned(&scan, &info);
	return ret;
}

/* In a forked child the lock of the call says what is wrong. */
static int sparse_verify(struct dax_mapping *mapping)
{
	struct sparse_file *sf = to_sparse(mapping);
	struct sys_file_info info;
	int ret;

	if (sf->dev->fork_generation != sys_fork_generation)
		return 0;
	ret = file_info(sf, &info);
	if (ret || likely(still_known(mapping, &info)))
		return ret;
	return mapping_run_alone(mapping, look_over, NULL);
}

/* ---- answering ---------------------------------------------------------------------- */

static inline void fill_iomap(struct dax_iomap *iomap, dax_pgoff_t page,
			      uint64_t run, bool data)
{
	iomap->offset = (dax_loff_t)(page << DAX_PAGE_SHIFT);
	iomap->addr = page << DAX_PAGE_SHIFT;
	iomap->length = run << DAX_PAGE_SHIFT;
	iomap->type = data ? DAX_IOMAP_MAPPED : DAX_IOMAP_HOLE;
}

static void look_up(const struct sparse_file *sf, dax_pgoff_t page,
		    dax_pgoff_t last, struct dax_iomap *iomap)
{
	uint64_t run;
	bool data = page_set_run(&sf->data, page, last, &run);

	fill_iomap(iomap, page, run, data);
}

/* A hole that is reported: are blocks set aside for it? */
static int report_hole(const struct sparse_file *sf, struct dax_iomap *iomap)
{
	uint64_t pos = (uint64_t)iomap->offset, start, end;
	int ret = sys_fiemap(sf->dev->fd, pos, iomap->length, &start, &end);

	if (ret == -EOPNOTSUPP || ret == 0)
		return 0;
	if (ret < 0)
		return sys_failed(sf, ret, "ask for its extents");
	if (page_of(start) > page_of(pos)) {
		if (start < pos + iomap->length)
			iomap->length = (start & ~(uint64_t)(DAX_PAGE_SIZE - 1)) - pos;
		return 0;
	}
	iomap->type = DAX_IOMAP_UNWRITTEN;
	end = pages_up(end) << DAX_PAGE_SHIFT;
	if (end < pos + iomap->length)
		iomap->length = end - pos;
	return 0;
}

/* ---- taking blocks -------------------------------------------------------------------- */

/* The medium refused a touch: why?  0: it has room by now. */
static __cold int why_refused(const struct sparse_file *sf, dax_pgoff_t page)
{
	uint64_t pos = page << DAX_PAGE_SHIFT;
	struct sys_file_info info;
	int ret = file_info(sf, &info);

	if (ret)
		return ret;
	if (pos >= info.size)
		return dax_error(-EIO, "%s: somebody truncated the file to %" PRIu64
				 " bytes", sf->dev->path, info.size);
	ret = sys_allocate_keep_size(sf->dev->fd, pos, DAX_PAGE_SIZE);
	if (ret == -EOPNOTSUPP)
		ret = -EIO;
	return ret ? dax_error(ret, "%s: cannot take a block for byte %" PRIu64 ": %s",
			       sf->dev->path, pos, strerror(-ret)) : 0;
}

static int touch_page(const struct sparse_file *sf, dax_pgoff_t page)
{
	char *kaddr = sf->dev->window + (page << DAX_PAGE_SHIFT);
	int ret = touch_mc(kaddr);

	if (likely(!ret))
		return 0;
	ret = why_refused(sf, page);
	return ret ? ret : touch_mc(kaddr);
}

static void add_data(struct sparse_file *sf, dax_pgoff_t first, dax_pgoff_t last)
{
	mutex_lock(&sf->lock);
	page_set_add(&sf->data, first, last);
	mutex_unlock(&sf->lock);
}

/* Let pages have blocks that take a store; as many as could be had, or -errno. */
static int64_t touch_pages(struct sparse_file *sf, dax_pgoff_t page, uint64_t nr)
{
	bool known = own_begin(sf);
	uint64_t done = 0;
	int ret = 0;

	while (done < nr && !ret) {
		ret = touch_page(sf, page + done);
		done += !ret;
	}
	if (done)
		add_data(sf, page, page + done - 1);
	own_end(sf, known);
	return done ? (int64_t)done : ret;
}

/*
 * Something is about to be stored.  A fault by 2 MiB is answered as things are:
 * data is shown whole, but a hole is not filled with 2 MiB for the sake of one
 * store; the fault falls back and takes a page.
 */
static int begin_write(struct sparse_file *sf, dax_pgoff_t page,
		       dax_pgoff_t last, unsigned int flags,
		       struct dax_iomap *iomap)
{
	int64_t nr;
	bool hole;
	int ret = device_prepare_store(sf->dev, 0, 0);

	if (ret)
		return ret;
	look_up(sf, page, last, iomap);
	hole = iomap->type == DAX_IOMAP_HOLE;
	if (flags & DAX_IOMAP_FAULT && page != last) {
		if (hole || sf->small_blocks)
			iomap->length = DAX_PAGE_SIZE;
		return 0;
	}
	nr = (int64_t)(iomap->length >> DAX_PAGE_SHIFT);
	nr = touch_pages(sf, page, nr < TOUCH_PAGES ? (uint64_t)nr : TOUCH_PAGES);
	if (nr < 0)
		return (int)nr;
	fill_iomap(iomap, page, (uint64_t)nr, true);
	if (hole) {
		iomap->flags |= DAX_IOMAP_F_NEW;
		WRITE_ONCE(sf->dirty, true);
	}
	return 0;
}

/*
 * How many of @nr pages, holes, have no block set aside for them: such blocks
 * are not to be punched.  Where the file system does not tell, none that lies in
 * a file that may have any.
 */
static uint64_t without_blocks(const struct sparse_file *sf, dax_pgoff_t page,
			       uint64_t nr)
{
	uint64_t start = 0, end = 0;
	int ret = sys_fiemap(sf->dev->fd, page << DAX_PAGE_SHIFT, nr << DAX_PAGE_SHIFT,
			     &start, &end);

	if (ret == -EOPNOTSUPP)
		return READ_ONCE(sf->set_aside) ? 0 : nr;
	if (ret < 0)
		return 0;
	if (ret && page_of(start) < page + nr)
		nr = page_of(start) > page ? page_of(start) - page : 0;
	return nr;
}

/* Blocks for @nr holes by one call; the first page is touched, the others will
 * be by who stores to them.  What a failure leaves set aside is still a hole;
 * nothing is punched, since another program may have stored there meanwhile. */
static int set_blocks_aside(struct sparse_file *sf, dax_pgoff_t page, uint64_t nr)
{
	uint64_t pos = page << DAX_PAGE_SHIFT, len = nr << DAX_PAGE_SHIFT;
	bool known = own_begin(sf);
	int ret = sys_allocate_keep_size(sf->dev->fd, pos, len);

	if (!ret)
		ret = touch_page(sf, page);
	if (!ret)
		add_data(sf, page, page + nr - 1);
	own_end(sf, known);
	return ret;
}

/* A store to @page alone; if that is a hole the holes that follow it may have
 * blocks, too.  What there is no room for is the page's own affair. */
static int begin_ahead(struct sparse_file *sf, dax_pgoff_t page,
		       dax_pgoff_t last, struct dax_iomap *iomap)
{
	uint64_t nr = 0;
	int ret = device_prepare_store(sf->dev, 0, 0);

	if (ret)
		return ret;
	look_up(sf, page, last, iomap);
	if (iomap->type == DAX_IOMAP_HOLE && !READ_ONCE(sf->no_punch))
		nr = without_blocks(sf, page, iomap->length >> DAX_PAGE_SHIFT);
	if (nr < 2 || set_blocks_aside(sf, page, nr))
		return begin_write(sf, page, page, DAX_IOMAP_FAULT, iomap);
	fill_iomap(iomap, page, nr, true);
	iomap->flags |= DAX_IOMAP_F_NEW | DAX_IOMAP_F_AHEAD;
	WRITE_ONCE(sf->dirty, true);
	return 0;
}

static __attribute__((noinline)) int
begin_slow(struct sparse_file *sf, dax_pgoff_t page, dax_pgoff_t last,
	   unsigned int flags, struct dax_iomap *iomap)
{
	int ret = 0;

	if (last >= window_pages(sf))
		last = window_pages(sf) - 1;
	if (page > last)
		return dax_error(-EFBIG, "%s: page %" PRIu64 " is beyond the window",
				 sf->dev->path, page);
	if (flags & DAX_IOMAP_AHEAD) {
		ret = begin_ahead(sf, page, last, iomap);
	} else if (flags & DAX_IOMAP_WRITE) {
		ret = begin_write(sf, page, last, flags, iomap);
	} else {
		look_up(sf, page, last, iomap);
		if (flags & DAX_IOMAP_REPORT && iomap->type == DAX_IOMAP_HOLE)
			ret = report_hole(sf, iomap);
	}
	if (iomap->type != DAX_IOMAP_HOLE && READ_ONCE(sf->dirty))
		iomap->flags |= DAX_IOMAP_F_DIRTY;
	return ret;
}

static int sparse_begin(struct dax_mapping *mapping, void *private_data,
			dax_loff_t pos, uint64_t length, unsigned int flags,
			struct dax_iomap *iomap)
{
	struct sparse_file *sf = private_data;
	dax_pgoff_t page = page_of((uint64_t)pos);
	dax_pgoff_t last = page_of((uint64_t)pos + length - 1);
	bool data;

	(void)mapping;
	if (unlikely(page != last || flags & ~(unsigned int)DAX_IOMAP_FAULT ||
		     page >= window_pages(sf)))
		return begin_slow(sf, page, last, flags, iomap);
	data = page_set_test(&sf->data, page);
	fill_iomap(iomap, page, 1, data);
	if (data && READ_ONCE(sf->dirty))
		iomap->flags |= DAX_IOMAP_F_DIRTY;
	return 0;
}

/* ---- bytes, without the window ------------------------------------------------------------ */

static ssize_t sparse_read(struct dax_mapping *mapping, void *buf, size_t len,
			   dax_loff_t pos)
{
	struct sparse_file *sf = to_sparse(mapping);
	int64_t ret = direct_access(sf->dev, 0, 1, NULL, NULL);	/* is it alive? */

	if (ret < 0)
		return ret;
	ret = sys_pread(sf->dev->fd, buf, len, (uint64_t)pos);
	if (ret == 0)
		return dax_error(-EIO, "%s: somebody truncated the file below byte %"
				 PRId64, sf->dev->path, pos);
	return ret < 0 ? sys_failed(sf, (int)ret, "read it") : ret;
}

/*
 * What mappings show of holes that are about to get blocks goes first, so that
 * nobody sees old after new.  The pages are data before they have blocks: who
 * comes in between is shown the window, where the bytes are going to be.  The
 * tree is asked although all pages are data already: a fault that took a block
 * may not have come to its zero page yet, or have failed before that.
 */
static int show_window(struct dax_mapping *mapping, dax_pgoff_t first,
		       dax_pgoff_t last)
{
	struct sparse_file *sf = to_sparse(mapping);
	struct percpu_area *area;
	uint64_t run;
	int ret = mapping_lock_shared_nested(mapping, &area);

	if (ret)
		return ret;
	if (!page_set_run(&sf->data, first, last, &run) || run <= last - first)
		add_data(sf, first, last);
	smp_mb();	/* as invalidate_stale() in rw.c */
	invalidate_pages_range(mapping, area, first, last, true, 0);
	mapping_unlock_shared(mapping, area);
	return 0;
}

/* pwrite(2) and the window show the same pages of the kernel. */
static ssize_t sparse_write(struct dax_mapping *mapping, const void *buf,
			    size_t len, dax_loff_t pos)
{
	struct sparse_file *sf = to_sparse(mapping);
	int64_t done;
	bool known;
	int ret = device_prepare_store(sf->dev, 0, 0);

	if (!ret)
		ret = check_window(sf, (uint64_t)pos + len);
	if (ret)
		return ret;
	known = own_begin(sf);
	ret = show_window(mapping, page_of((uint64_t)pos),
			  page_of((uint64_t)pos + len - 1));
	done = ret ? ret : sys_pwrite(sf->dev->fd, buf, len, (uint64_t)pos);
	if (done > 0)	/* to be stored again if a sync of it fails */
		sf->dev->persist->flush(sf->dev, sf->dev->window + pos, (size_t)done);
	WRITE_ONCE(sf->dirty, true);
	own_end(sf, known);
	if (done < (int64_t)len)	/* some of the holes may still be holes */
		forget_stamp(sf);
	return done < 0 && !ret ? sys_failed(sf, (int)done, "write to it") : done;
}

/* ---- changing blocks (alone) ----------------------------------------------------------------- */

/* What a change left behind: page states that follow, or another look. */
static int changed(struct sparse_file *sf, bool known, int err, const char *what)
{
	WRITE_ONCE(sf->dirty, true);
	own_end(sf, known);
	if (!err)
		return 0;
	forget_stamp(sf);
	return sys_failed(sf, err, what);
}

/* The kernel zeroes the parts of pages at the edges, too. */
static int sparse_punch(struct dax_mapping *mapping, void *private_data,
			dax_loff_t pos, uint64_t len)
{
	struct sparse_file *sf = private_data;
	dax_pgoff_t first = pages_up((uint64_t)pos);
	dax_pgoff_t end = page_of((uint64_t)pos + len);
	bool known = own_begin(sf);
	int ret = sys_punch(sf->dev->fd, (uint64_t)pos, len);

	(void)mapping;
	if (end > window_pages(sf))
		end = window_pages(sf);
	if (ret == -EOPNOTSUPP)
		WRITE_ONCE(sf->no_punch, true);
	if (!ret && !sf->all_data && first < end)
		page_set_assign(&sf->data, first, end - 1, false);
	return changed(sf, known, ret, "punch a hole into it (its file system may have "
				       "none)");
}

static int sparse_truncate(struct dax_mapping *mapping, void *private_data,
			   dax_loff_t size)
{
	struct sparse_file *sf = private_data;
	dax_pgoff_t end = pages_up((uint64_t)size);
	bool known;
	int ret = check_window(sf, (uint64_t)size);

	(void)mapping;
	if (ret)
		return ret;
	known = own_begin(sf);
	ret = sys_truncate(sf->dev->fd, (uint64_t)size);
	if (!ret && end < window_pages(sf))
		page_set_assign(&sf->data, end, window_pages(sf) - 1, false);
	if (!ret && sf->all_data && end)
		page_set_assign(&sf->data, 0, end - 1, true);
	return changed(sf, known, ret, "change its size");
}

static int sparse_fallocate(struct dax_mapping *mapping, void *private_data,
			    dax_loff_t pos, uint64_t len)
{
	struct sparse_file *sf = private_data;
	uint64_t end = (uint64_t)pos + len;
	bool known;
	int ret = check_window(sf, end);

	(void)mapping;
	if (ret)
		return ret;
	known = own_begin(sf);
	WRITE_ONCE(sf->set_aside, true);
	ret = sys_allocate(sf->dev->fd, (uint64_t)pos, len);
	if (!ret && sf->all_data)
		page_set_assign(&sf->data, 0, page_of(end - 1), true);
	return changed(sf, known, ret, "set blocks aside for it");
}

static int sparse_sync(struct dax_mapping *mapping, void *private_data)
{
	struct sparse_file *sf = private_data;
	bool was = atomic_exchange(&sf->dirty, false);
	int ret = sys_fdatasync(sf->dev->fd);

	(void)mapping;
	if (!ret)
		return 0;
	if (was)
		WRITE_ONCE(sf->dirty, true);
	return sys_failed(sf, ret, "sync it");
}

uint64_t sparse_file_bytes(const struct sparse_file *sf)
{
	return sizeof(*sf) + page_set_bytes(&sf->data);
}

uint64_t sparse_file_allocated(const struct sparse_file *sf)
{
	struct sys_file_info info;

	return sys_file_info(sf->dev->fd, &info) ? 0 : info.allocated;
}

const struct dax_iomap_ops sparse_file_ops = {
	.struct_size = sizeof(struct dax_iomap_ops),
	.iomap_begin = sparse_begin,
	.fallocate = sparse_fallocate,
	.punch = sparse_punch,
	.truncate = sparse_truncate,
	.sync = sparse_sync,
	.free = sparse_file_free,
};

const struct mapping_hooks sparse_file_hooks = {
	.verify = sparse_verify,
	.read = sparse_read,
	.write = sparse_write,
};
