// Chat templates against what transformers made of the same messages.
#include "core/text/chat_template.hpp"
#include "tests/text/golden_files.hpp"

namespace nemo::text {
namespace {

std::filesystem::path chat() { return goldens_root() / "chat"; }

TEST(ChatGolden, text_and_errors_are_those_of_transformers) {
  std::map<std::string, int> wrong;
  std::istringstream in(read_all((chat() / "goldens.jsonl").string()));
  for (std::string line; std::getline(in, line);) {
    const auto row = nlohmann::ordered_json::parse(line);
    const auto name = row["template"].get<std::string>();
    const std::string source = read_all((chat() / "templates" / (name + ".jinja")).string());
    const ChatTemplate t(source, name, row["bos_token"].get<std::string>(), row["eos_token"].get<std::string>());
    const Turn end = row["add_generation_prompt"].get<bool>() ? Turn::kAssistant : Turn::kNone;
    if (row.contains("error") && !row["error"].is_null()) {
      EXPECT_EQ(message_of(Code::kInvalidArgument, [&] { (void)t.render(row["messages"], end, row["kwargs"]); }),
                row["error"].get<std::string>());
      continue;
    }
    EXPECT_EQ(t.render(row["messages"], end, row["kwargs"]), row["text"].get<std::string>()) << name << row["messages"];
  }
}

TEST(ChatGolden, folders_of_both_styles_give_the_text_and_its_ids) {
  int folders = 0;
  for (const auto& row : json_lines(chat() / "goldens.jsonl")) {
    for (const char* style : {"", "v4"}) {
      const auto folder = chat() / ("hf_" + row["template"].get<std::string>()) / style;
      if (!std::filesystem::exists(folder / "tokenizer.json") || !row.contains("ids") || !row["kwargs"].empty()) continue;
      const Turn end = row["add_generation_prompt"].get<bool>() ? Turn::kAssistant : Turn::kNone;
      const std::string text = ChatTemplate::load(folder).render(nlohmann::ordered_json::parse(row["messages"].dump()), end);
      EXPECT_EQ(text, row["text"].get<std::string>());
      EXPECT_EQ(load_tokenizer(folder)->encode(text), ids_of(row["ids"]));
      ++folders;
    }
  }
  EXPECT_GT(folders, 0);
}

}  // namespace
}  // namespace nemo::text
