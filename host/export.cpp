// host/export.cpp - a checkpoint becomes a Hugging Face model folder.

#include <cmath>
#include <cstdio>

#include "core/base/error.hpp"
#include "core/hub/element.hpp"
#include "core/hub/export.hpp"
#include "host/options.hpp"
#include "host/program.hpp"

namespace nemo::host {

namespace po = boost::program_options;

namespace {

// "5GB", "200MB", "1GiB", "1000000".
uint64_t bytes_of(const std::string& text) {
  size_t end = 0;
  double number = 0;
  try {
    number = std::stod(text, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  const std::string unit = text.substr(end);
  const double scale = unit == "GB"    ? 1e9
                       : unit == "MB"  ? 1e6
                       : unit == "KB"  ? 1e3
                       : unit == "GiB" ? 1024.0 * 1024 * 1024
                       : unit == "MiB" ? 1024.0 * 1024
                       : unit == "KiB" ? 1024.0
                       : unit.empty()  ? 1.0
                                       : 0.0;
  const double bytes = number * scale;
  if (end == 0 || !(bytes >= 1 && bytes < 9e18)) throw Error(Code::kConfig, "'" + text + "' is no size; write 5GB, 200MB or 1GiB");
  return static_cast<uint64_t>(bytes);
}

}  // namespace

int export_checkpoint(Program& program, const std::vector<std::string>& arguments) {
  const std::string usage = "nemo-host export --from CHECKPOINT --to HF_DIR [options]";
  po::options_description options("options");
  options.add_options()("from", po::value<std::string>(), "checkpoint or run folder (its newest checkpoint)")(
      "to", po::value<std::string>(), "the folder to make")(
      "dtype", po::value<std::string>(), "f32, bf16, f16 or f64: of all weights; default: each as the checkpoint has it")(
      "max-shard-size", po::value<std::string>()->default_value("50GB"), "bytes of one file, e.g. 5GB")(
      "like", po::value<std::string>(), "model folder whose config.json, generation_config.json and tokenizer files are taken over");
  const Parsed parsed = parse(arguments, usage, options);
  if (parsed.help) return kDone;
  for (const char* needed : {"from", "to"})
    if (!parsed.values.count(needed)) throw Error(Code::kConfig, std::string("--") + needed + " is missing\nusage: " + usage);
  if (!parsed.positional.empty()) throw Error(Code::kConfig, "'" + parsed.positional[0] + "' is no option\nusage: " + usage);
  hub::ExportOptions out;
  out.from = parsed.values["from"].as<std::string>();
  out.to = parsed.values["to"].as<std::string>();
  if (parsed.values.count("dtype")) out.dtype = hub::dtype_of_name(parsed.values["dtype"].as<std::string>());
  if (parsed.values.count("like")) out.like = parsed.values["like"].as<std::string>();
  out.max_shard_bytes = bytes_of(parsed.values["max-shard-size"].as<std::string>());
  const runtime::RunContext context = program.context();
  const hub::ExportResult result = hub::export_model(out, program.registry({}, std::filesystem::current_path()), context.warn);
  std::printf("exported %zu tensors, %.3f GB, of model '%s' as %s: %s\n", result.tensors, static_cast<double>(result.bytes) / 1e9,
              result.plugin.c_str(), result.architecture.c_str(), out.to.c_str());
  return kDone;
}

}  // namespace nemo::host
