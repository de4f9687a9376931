
use foretoken_draft::*;
use foretoken_draft::trigram::StaticTable;
use foretoken_model::*;
use std::time::{Duration,Instant};
use std::collections::BTreeMap;
#[derive(serde::Deserialize)]
struct T { workload:String, id:String, temperature:f32, top_p:f32, seed:u64, prompt:Vec<Token>, tokens:Vec<Token> }
fn main(){
    let args:Vec<String>=std::env::args().collect();
    let file=&args[1]; let names:Vec<&str>=args[2].split(',').collect(); let budgets:Vec<usize>=args[3].split(',').map(|x|x.parse().unwrap()).collect();
    let model = ModelSource::demo();
    let config = Config::from_json(&model.read("config.json").unwrap()).unwrap();
    let tokenizer = Tokenizer::from_bytes(&model.read("tokenizer.json").unwrap()).unwrap();
    let table=||StaticTable::new(model.read("trigram.ftt").unwrap(), config.vocab_size, tokenizer.fingerprint()).unwrap();
    let text=std::fs::read_to_string(file).unwrap();
    let ts:Vec<T>=text.lines().map(|l|serde_json::from_str(l).unwrap()).collect();
    for &budget in &budgets { for name in &names {
        let mut d:Box<dyn Drafter>=match *name {"trigram"=>Box::new(Trigram::new(Some(table()))),"lookup"=>Box::new(Lookup::new()),
          "auto"=>Box::new(Auto::new(Lookup::new(),Trigram::new(Some(table())))),_=>panic!()};
        let mut sums:BTreeMap<(u32,String),(usize,usize)>=BTreeMap::new(); let mut time=Duration::ZERO; let mut asked=0;
        for (i,t) in ts.iter().enumerate(){
            let sampling=SamplingParams{temperature:t.temperature,top_p:t.top_p,seed:t.seed,..SamplingParams::greedy()};
            let all=[&t.prompt[..],&t.tokens].concat(); let mut len=t.prompt.len(); let seq=SeqId(i as u64);
            while len<all.len(){
                let depth=16.min(all.len()-len-1);
                let n=if depth==0{1}else{
                let c=Context{seq,tokens:&all[..len],sampling:&sampling,max_draft_tokens:budget,max_draft_depth:depth,hints:Hints{num_prompt_tokens:t.prompt.len(),..Hints::default()}};
                let s=Instant::now(); let tree=d.propose(&[c]).unwrap().remove(0); time+=s.elapsed(); asked+=1;
                accept(&tree,|node|all[len+tree.depth(node)]).path.len()};
                len+=n;
                for k in [t.workload.as_str(),"~all"] { let e=sums.entry(((t.temperature*10.) as u32,k.to_owned())).or_default(); e.0+=n; e.1+=1; }
            }
            d.forget(seq);
        }
        print!("{name:8} {budget:2}");
        for ((t,w),(a,b)) in &sums { print!(" | {t} {} {:.3}",&w[..2],*a as f64/ *b as f64); }
        println!(" | {:.1} us",time.as_secs_f64()*1e6/asked as f64);
    }}
}
