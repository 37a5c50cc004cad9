#include "core/text/prepare.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <fstream>
#include <mutex>
#include <thread>

#include "core/base/error.hpp"
#include "core/text/prepare_parts.hpp"
#include "core/text/text_file.hpp"

namespace nemo::text {
namespace {

namespace fs = std::filesystem;

fs::path with_suffix(const fs::path& prefix, const char* suffix) {
  fs::path out = prefix;
  out += suffix;
  return out;
}

uint64_t fingerprint(std::string_view bytes, uint64_t hash = 0xcbf29ce484222325u) {
  for (const char c : bytes) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return hash;
}

class Preparation {
 public:
  Preparation(const Tokenizer& tokenizer, const PrepareSettings& settings, PrepareProgress& progress)
      : tokenizer_(tokenizer),
        settings_(settings),
        type_(tokenizer.vocab_size() < 65500 ? sdk::TokenType::kU16 : sdk::TokenType::kI32),
        folder_(with_suffix(settings.output_prefix, ".parts")),
        parts_(cut_inputs(settings.inputs)),
        progress_(progress) {
    if (settings.append_eod && tokenizer.eos() < 0)
      throw Error(Code::kConfig, "--append-eod: the tokenizer (" + std::string(tokenizer.type()) + ") has no end-of-text token");
    for (const InputPart& p : parts_) progress_.total_bytes += p.end - p.begin;
  }

  bool run(const PrepareReport& report) {
    open_folder();
    if (!encode_all(report)) return false;
    join();
    fs::remove_all(folder_);
    return true;
  }

 private:
  [[nodiscard]] fs::path part_file(size_t i) const { return folder_ / (std::to_string(i) + ".part"); }

  // Everything that the result depends on.
  [[nodiscard]] std::string plan() const {
    uint64_t tokenizer = 0xcbf29ce484222325u;
    for (const TokenizerFile& f : tokenizer_.files()) tokenizer = fingerprint(f.bytes, fingerprint(f.name, tokenizer));
    std::string out = "nemo-host data prepare, version 1\ntokenizer " + std::string(tokenizer_.type()) + " " + std::to_string(tokenizer) +
                      "\ndtype " + std::to_string(static_cast<int>(type_)) + "\njson_key " + settings_.json_key + "\nappend_eod " +
                      (settings_.append_eod ? "yes" : "no") + "\n" + (settings_.split_lines ? "split_lines yes\n" : "");
    for (const fs::path& input : settings_.inputs)
      out += "input " + fs::absolute(input).string() + " " + std::to_string(fs::file_size(input)) + " " +
             std::to_string(fs::last_write_time(input).time_since_epoch().count()) + "\n";
    return out;
  }

  // Parts of another plan are of no use.
  void open_folder() {
    const fs::path file = folder_ / "plan.txt";
    const std::string wanted = plan();
    if (fs::exists(file) && read_text_file(file, "plan") == wanted) return;
    fs::remove_all(folder_);
    std::error_code error;
    fs::create_directories(folder_, error);
    std::ofstream(file, std::ios::binary) << wanted;
    if (error || !fs::exists(file))
      throw Error(Code::kDevice, folder_.string() + ": cannot be created; is the folder of --output-prefix there, and writable?");
    sync_path(file);
  }

  void count(const InputPart& input, const TokenPart& part) {
    progress_.bytes += input.end - input.begin;
    for (const uint32_t n : part.lengths) {
      progress_.documents += (n & kDocumentGoesOn) == 0;
      progress_.tokens += n & ~kDocumentGoesOn;
    }
  }

  bool encode_all(const PrepareReport& report) {
    std::vector<size_t> missing;
    for (size_t i = 0; i < parts_.size(); ++i) {
      if (fs::exists(part_file(i)))
        count(parts_[i], read_part(part_file(i)));
      else
        missing.push_back(i);
    }
    progress_.resumed_bytes = progress_.bytes;
    std::atomic<size_t> next{0};
    std::atomic<bool> stop{false};
    size_t running = 0;
    const auto work = [&] {
      try {
        for (size_t m; !stop && (m = next++) < missing.size();) {
          const TokenPart part = encode_part(tokenizer_, settings_, type_, parts_[missing[m]]);
          write_part(part_file(missing[m]), part);
          const std::lock_guard lock(mutex_);
          count(parts_[missing[m]], part);
        }
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (!failure_) failure_ = std::current_exception();
        stop = true;
      }
      const std::lock_guard lock(mutex_);
      --running;
      changed_.notify_all();
    };
    const size_t n = std::min(missing.size(), static_cast<size_t>(std::max(settings_.workers, 1)));
    running = n;
    std::vector<std::thread> threads;
    for (size_t i = 0; i < n; ++i) threads.emplace_back(work);
    bool wanted = true;
    {
      std::unique_lock lock(mutex_);
      while (!changed_.wait_for(lock, std::chrono::milliseconds(200), [&] { return running == 0; }))
        if (!(wanted = report(progress_))) stop = true;
    }
    for (std::thread& t : threads) t.join();
    if (failure_) std::rethrow_exception(failure_);
    return report(progress_) && wanted;
  }

  // One behind the other, in the order of the input; the two files get their names together, the .idx last.
  void join() const {
    const fs::path bin = with_suffix(settings_.output_prefix, ".bin"), idx = with_suffix(settings_.output_prefix, ".idx");
    const fs::path new_bin = folder_ / "joined.bin", new_idx = folder_ / "joined.idx";
    sdk::IndexBuilder index(type_);
    std::ofstream tokens(new_bin, std::ios::binary);
    for (size_t i = 0; i < parts_.size(); ++i) {
      const TokenPart part = read_part(part_file(i));
      tokens.write(part.tokens.data(), static_cast<std::streamsize>(part.tokens.size()));
      for (const uint32_t n : part.lengths) {
        index.add_sequence(n & ~kDocumentGoesOn);
        if ((n & kDocumentGoesOn) == 0) index.end_document();
      }
    }
    tokens.close();
    std::ofstream out(new_idx, std::ios::binary);
    index.write(out);
    out.close();
    if (!tokens || !out) throw Error(Code::kDevice, folder_.string() + ": could not be written; is the disk full?");
    sync_path(new_bin);
    sync_path(new_idx);
    fs::remove(idx);  // never an old index beside new tokens
    fs::rename(new_bin, bin);
    fs::rename(new_idx, idx);
    sync_path(fs::absolute(idx).parent_path());
  }

  const Tokenizer& tokenizer_;
  const PrepareSettings& settings_;
  sdk::TokenType type_;
  fs::path folder_;
  std::vector<InputPart> parts_;
  PrepareProgress& progress_;  // guarded by mutex_ while threads run
  std::mutex mutex_;
  std::condition_variable changed_;
  std::exception_ptr failure_;
};

}  // namespace

bool prepare(const Tokenizer& tokenizer, const PrepareSettings& settings, const PrepareReport& report, PrepareProgress& result) {
  return Preparation(tokenizer, settings, result).run(report);
}

}  // namespace nemo::text
