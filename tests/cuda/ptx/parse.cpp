/* Reads PTX: declarations, labels, scopes and instructions of every kernel in a file. */
#include "ptx/ptx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fstream>
#include <sstream>

namespace ptx
{

using std::string;
using std::vector;

[[noreturn]] void fail(const string &why)
{
    fprintf(stderr, "ptx: %s\n", why.c_str());
    abort();
}

bool instruction::has(const char *word) const
{
    for (const string &each : words)
        if (each == word)
            return true;
    return false;
}

static string trim(const string &text)
{
    const char *const BLANKS = " \t\r\n";
    const size_t first = text.find_first_not_of(BLANKS);
    if (first == string::npos)
        return "";
    return text.substr(first, text.find_last_not_of(BLANKS) - first + 1);
}

/* Splits at `separator`, but not within braces or brackets. */
static vector<string> split(const string &text, char separator)
{
    vector<string> parts(1);
    int depth = 0;
    for (char c : text) {
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        if (c == separator && depth == 0)
            parts.emplace_back();
        else
            parts.back() += c;
    }
    for (string &part : parts)
        part = trim(part);
    return parts;
}

static type parse_type(const string &word)
{
    static const std::map<string, type> TYPES = {
        {"pred", {family::PREDICATE, 1, false}}, {"f16", {family::H, 2, false}},
        {"f16x2", {family::H, 4, true}},         {"bf16", {family::E, 2, false}},
        {"bf16x2", {family::E, 4, true}},
    };
    const auto found = TYPES.find(word);
    if (found != TYPES.end())
        return found->second;
    const string digits = word.size() > 1 ? word.substr(1) : "";
    const bool sized = digits == "8" || digits == "16" || digits == "32" || digits == "64";
    const size_t kind = string("busf").find(word[0]);
    if (!sized || kind == string::npos)
        return {};
    static const family FAMILIES[] = {family::B, family::U, family::S, family::F};
    return {FAMILIES[kind], (uint8_t)(atoi(digits.c_str()) / 8), false};
}

static opcode parse_opcode(const instruction &i)
{
    static const char *const WORDS[] = {
#define PTX_OPCODE_WORD(word) #word,
        PTX_OPCODES(PTX_OPCODE_WORD)};
    for (size_t op = 0; op < OPCODE_COUNT; op++)
        if (i.words[0] == WORDS[op])
            return (opcode)op;
    fail("an opcode that no kernel used before: " + i.text);
}

/* One kernel's body. Two passes: the first finds where labels point. */
class body_parser
{
  public:
    body_parser(kernel &into, const string &text) : k(into), body(text)
    {
        for (const bool second : {false, true}) {
            final_pass = second;
            k.code.clear();
            k.shared.clear();
            k.n_registers = 0;
            k.shared_bytes = 0;
            scopes.assign(1, {});
            read();
        }
    }

  private:
    kernel &k;
    const string &body;
    bool final_pass = false;
    vector<std::map<string, int>> scopes; /* names of registers, innermost last */
    std::map<string, int> labels;

    void read()
    {
        string statement;
        for (size_t i = 0; i < body.size(); i++) {
            const char c = body[i];
            const bool fresh = trim(statement).empty();
            if (fresh && (c == '{' || c == '}')) {
                if (c == '{')
                    scopes.emplace_back();
                else
                    scopes.pop_back();
                statement.clear();
            } else if (fresh && c == '$' && read_label(i)) {
                statement.clear();
            } else if (c == ';') {
                read_statement(trim(statement));
                statement.clear();
            } else {
                statement += c;
            }
        }
    }

    bool read_label(size_t &i)
    {
        const size_t end = body.find_first_of(":; \t\n", i);
        if (end == string::npos || body[end] != ':')
            return false;
        labels[body.substr(i, end - i)] = (int)k.code.size();
        i = end;
        return true;
    }

    int register_index(const string &name)
    {
        for (size_t i = scopes.size(); i-- > 0;) {
            const auto found = scopes[i].find(name);
            if (found != scopes[i].end())
                return found->second;
        }
        return scopes[0][name] = k.n_registers++;
    }

    /* .reg names of an inner scope hide outer ones; ranges (%r<9>) need no mention. */
    void read_declaration(const string &text)
    {
        if (text.compare(0, 4, ".reg") == 0) {
            const size_t names = text.find_first_of(" \t", text.find('.', 4));
            for (const string &name : split(text.substr(names), ','))
                if (name.find('<') == string::npos)
                    scopes.back()[name] = k.n_registers++;
        } else if (text.compare(0, 7, ".shared") == 0) {
            const size_t bracket = text.find('['), name = text.rfind(' ', bracket) + 1;
            k.shared_bytes = (k.shared_bytes + 127) / 128 * 128;
            k.shared[text.substr(name, bracket - name)] = k.shared_bytes;
            k.shared_bytes += (uint32_t)atoi(text.c_str() + bracket + 1);
        }
    }

    void read_statement(string text)
    {
        if (text.empty())
            return;
        if (text[0] == '.')
            return read_declaration(text);
        instruction made;
        made.text = text;
        if (text[0] == '@') {
            const size_t end = text.find_first_of(" \t");
            made.guard_negated = text[1] == '!';
            made.guard =
                register_index(text.substr(1 + made.guard_negated, end - 1 - made.guard_negated));
            text = trim(text.substr(end));
        }
        const size_t end = text.find_first_of(" \t");
        made.words = split(text.substr(0, end), '.');
        made.op = parse_opcode(made);
        made.wide = made.has("wide");
        made.high = made.has("hi");
        made.in_shared = made.has("shared");
        made.in_parameters = made.has("param");
        for (const string &word : made.words) {
            const type found = parse_type(word);
            if (found.kind == family::NONE)
                made.vector = word == "v2" ? 2 : word == "v4" ? 4 : made.vector;
            else if (made.first.kind == family::NONE)
                made.first = found;
            else if (made.second.kind == family::NONE)
                made.second = found;
        }
        if (end != string::npos)
            for (const string &each : split(text.substr(end), ','))
                made.operands.push_back(read_operand(each));
        k.code.push_back(made);
    }

    operand read_address(const string &text)
    {
        operand made;
        const size_t plus = text.find('+');
        const string base = trim(text.substr(0, plus));
        made.kind = operand::IMMEDIATE;
        made.address = true;
        if (plus != string::npos)
            made.value = (uint64_t)strtoll(text.c_str() + plus + 1, nullptr, 0);
        for (size_t i = 0; i < k.parameters.size(); i++)
            if (k.parameters[i] == base)
                made.parameter = (int)i;
        if (made.parameter >= 0)
            return made;
        if (k.shared.count(base) != 0)
            made.value += k.shared[base];
        else
            made.index = register_index(base);
        return made;
    }

    operand read_special(const string &text)
    {
        operand made;
        made.kind = operand::SPECIAL;
        made.axis = text.back();
        made.special = text.compare(0, 4, "%nct") == 0 ? 'g' : text[1];
        return made;
    }

    operand read_operand(const string &text)
    {
        operand made;
        const size_t bar = text.find('|');
        if (text[0] == '{') {
            made.kind = operand::VECTOR;
            for (const string &each : split(text.substr(1, text.size() - 2), ','))
                made.elements.push_back(read_operand(each));
        } else if (text[0] == '[') {
            return read_address(trim(text.substr(1, text.size() - 2)));
        } else if (bar != string::npos) {
            made = read_operand(trim(text.substr(0, bar)));
            made.predicate = register_index(trim(text.substr(bar + 1)));
        } else if (text[0] == '%' && text.find('.') != string::npos) {
            return read_special(text);
        } else if (text[0] == '$') {
            made.kind = operand::LABEL;
            if (final_pass && labels.count(text) == 0)
                fail("no label " + text);
            made.index = final_pass ? labels[text] : 0;
        } else if (text[0] == '-' || (text[0] >= '0' && text[0] <= '9')) {
            made.kind = operand::IMMEDIATE;
            made.value = text[0] == '0' && (text[1] == 'f' || text[1] == 'F')
                             ? strtoull(text.c_str() + 2, nullptr, 16)
                             : (uint64_t)strtoll(text.c_str(), nullptr, 0);
        } else if (k.shared.count(text) != 0) {
            made.kind = operand::IMMEDIATE;
            made.value = k.shared[text];
        } else {
            made.kind = operand::REGISTER;
            made.index = register_index(text);
        }
        return made;
    }
};

static string without_comments(const string &text)
{
    std::istringstream lines(text);
    string line, kept;
    while (getline(lines, line))
        kept += line.substr(0, line.find("//")) + "\n";
    return kept;
}

static size_t closing_brace(const string &text, size_t open)
{
    int depth = 0;
    for (size_t i = open; i < text.size(); i++) {
        depth += (text[i] == '{') - (text[i] == '}');
        if (depth == 0)
            return i;
    }
    fail("a brace is never closed");
}

vector<kernel> parse_file(const char *path)
{
    std::ifstream file(path);
    std::stringstream content;
    vector<kernel> kernels;
    content << file.rdbuf();
    const string text = without_comments(content.str());
    for (size_t at = text.find(".entry"); at != string::npos; at = text.find(".entry", at)) {
        const size_t open = text.find('(', at), close = text.find(')', open);
        const size_t begin = text.find('{', close), end = closing_brace(text, begin);
        kernel made;
        made.name = trim(text.substr(at + 6, open - at - 6));
        for (const string &each : split(text.substr(open + 1, close - open - 1), ',')) {
            const size_t name = each.rfind(' ') + 1;
            made.parameters.push_back(trim(each.substr(name, each.find('[') - name)));
        }
        const string body = text.substr(begin + 1, end - begin - 1);
        body_parser parser(made, body);
        kernels.push_back(std::move(made));
        at = end;
    }
    if (kernels.empty())
        fail(string("no kernel in ") + path);
    return kernels;
}

} // namespace ptx
