// Shows above a block to which file it belongs: the fence says `yaml file=plan.yaml`.
for (const code of document.querySelectorAll("pre > code")) {
    for (const [word, title] of [["file", ""], ["append", "at the end of "]]) {
        const named = [...code.classList].find((name) => name.startsWith(`${word}=`));
        if (named) {
            const caption = document.createElement("div");
            caption.className = "file-name";
            caption.textContent = title + named.slice(word.length + 1);
            code.parentElement.before(caption);
        }
    }
}
